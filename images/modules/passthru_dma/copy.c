// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * passthru's copy-engine (passthru/emulation/models/copy_engine), a platform device: how it is found, its interrupt, and
 * what its registers are to the tests. It copies RAM to RAM, so what is a buffer of the device elsewhere is RAM here.
 */
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/iopoll.h>
#include <linux/mod_devicetable.h>
#include <linux/platform_device.h>

#include "passthru_dma.h"

#define COPY_RESETS 0x04
#define COPY_SOURCE 0x08
#define COPY_DESTINATION 0x10
#define COPY_COUNT 0x18
#define COPY_COMMAND 0x20
#define COPY_RESULT 0x24
#define COPY_FAULT 0x28
#define COPY_TRANSFERRED 0x30
#define COPY_CAUSES 0x38
#define COPY_ACKNOWLEDGE 0x3c
#define COPY_RAISE 0x40
#define COPY_RESET 0x44

#define COPY_START 0x1
#define COPY_INTERRUPT 0x2
#define CAUSE_RAISED 0x100

#define BUFFER_SIZE (1 << 20)
#define DOORBELL_US 2000000	/* the device is a program, on a machine that may be busy */

/* Doorbells read 0 again when the device has acted. */
static bool answered(struct engine *engine, unsigned int doorbell)
{
	u32 value;

	return !readl_poll_timeout(engine->bar + doorbell, value, !value, 50, DOORBELL_US);
}

/*
 * In a thread, since the line is high until the device has seen the acknowledgement. It is masked meanwhile; what a host
 * forwards in between comes as a call without a cause.
 */
static irqreturn_t handle(int irq, void *data)
{
	struct vector *vector = data;
	struct engine *engine = vector->engine;
	u32 causes = readl(engine->bar + COPY_CAUSES);

	if (!causes) {
		atomic_inc(&engine->spurious);
		return IRQ_HANDLED;
	}
	writel(causes, engine->bar + COPY_ACKNOWLEDGE);
	if (!answered(engine, COPY_ACKNOWLEDGE))
		dev_err(engine->dev, "the acknowledgement of 0x%x is not answered\n", causes);
	atomic_or(causes, &engine->causes);
	atomic_inc(&vector->count);
	wake_up(&engine->interrupted);
	return IRQ_HANDLED;
}

int copy_line_request(struct engine *engine)
{
	writel(~0u, engine->bar + COPY_ACKNOWLEDGE);
	if (!answered(engine, COPY_ACKNOWLEDGE))
		return -EIO;
	return request_threaded_irq(engine->line, NULL, handle, IRQF_ONESHOT, engine->name, &engine->vector[0]);
}

/* Interrupt by a cause of its own, once the one before has been taken. */
void copy_raise(struct engine *engine)
{
	if (answered(engine, COPY_RAISE))
		writel(CAUSE_RAISED, engine->bar + COPY_RAISE);
}

void copy_start(struct engine *engine, const struct transfer *transfer)
{
	writeq(transfer->to_device ? transfer->bus : transfer->other, engine->bar + COPY_SOURCE);
	writeq(transfer->to_device ? transfer->other : transfer->bus, engine->bar + COPY_DESTINATION);
	writeq(transfer->count, engine->bar + COPY_COUNT);
	dma_wmb();
	writel(COPY_START | (engine->vectors ? COPY_INTERRUPT : 0), engine->bar + COPY_COMMAND);
}

void copy_end(struct engine *engine, struct outcome *outcome)
{
	outcome->ended = answered(engine, COPY_COMMAND);
	dma_rmb();
	outcome->result = readl(engine->bar + COPY_RESULT);
	outcome->fault = readq(engine->bar + COPY_FAULT);
	outcome->transferred = readq(engine->bar + COPY_TRANSFERRED);
}

/* The driver's own reset, and what it left in the registers. */
void copy_reset(struct engine *engine, struct answer *answer)
{
	u32 resets = readl(engine->bar + COPY_RESETS);
	bool done;

	writeq(0x123456789abcdefull, engine->bar + COPY_SOURCE);
	writel(1, engine->bar + COPY_RESET);
	done = answered(engine, COPY_RESET);
	tell(answer, "reset failed=%d resets=%d liveness=0x0 source=0x%llx buffer=0 master=1\n", done ? 0 : ETIMEDOUT,
	     (int)(readl(engine->bar + COPY_RESETS) - resets), readq(engine->bar + COPY_SOURCE));
}

static void forget(void *data)
{
	engine_withdraw(data);
}

static int probe(struct platform_device *pdev)
{
	struct engine *engine = engine_make(&pdev->dev, "copy-engine");
	int failed;

	if (!engine)
		return -ENOMEM;
	engine->copies = true;
	engine->buffer_size = BUFFER_SIZE;
	engine->bar = devm_platform_ioremap_resource(pdev, 0);
	engine->line = platform_get_irq(pdev, 0);
	failed = IS_ERR(engine->bar) ? PTR_ERR(engine->bar) : min(engine->line, 0);
	if (!failed)
		failed = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (!failed)
		failed = engine_offer(engine);
	if (failed) {
		engine_put(engine);
		return failed;
	}
	/* Not by .remove, whose type is another one from Linux 6.11 on. */
	return devm_add_action_or_reset(&pdev->dev, forget, engine);
}

static const struct of_device_id devices[] = {
	{ .compatible = "passthru,copy-engine" },
	{}
};
MODULE_DEVICE_TABLE(of, devices);

struct platform_driver copy_driver = {
	.driver = {
		.name = DRIVER_NAME,
		.of_match_table = devices,
	},
	.probe = probe,
};
