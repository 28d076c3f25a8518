// SPDX-License-Identifier: GPL-2.0-or-later
/* One transfer by the device's DMA controller, and what came of it. */
#include <linux/iopoll.h>

#include "passthru_dma.h"

#define LONGEST_US 5000000

/* Start the transfer, wait for its interrupt and its end, and count all interrupts that it made. */
void transfer_run(struct engine *engine, const struct transfer *transfer, struct outcome *outcome)
{
	u64 device = (u64)engine->buffer_offset + transfer->device_offset;
	u64 command = DMA_START;
	struct counts before, after, fences;
	unsigned int number;
	u32 now;

	memset(outcome, 0, sizeof(*outcome));
	counts_read(engine, &before);
	atomic_set(&engine->causes, 0);
	if (!transfer->to_device)
		command |= DMA_TO_RAM;
	if (engine->vectors)
		command |= DMA_INTERRUPT | (engine->edu ? 0 : transfer->vector << DMA_VECTOR_SHIFT);
	if (engine->copies) {
		copy_start(engine, transfer);
	} else {
		writeq(transfer->to_device ? transfer->bus : device, engine->bar + REG_DMA_SOURCE);
		writeq(transfer->to_device ? device : transfer->bus, engine->bar + REG_DMA_DESTINATION);
		writeq(transfer->count, engine->bar + REG_DMA_COUNT);
		dma_wmb();
		writeq(command, engine->bar + REG_DMA_COMMAND);
	}

	if (engine->vectors)
		interrupt_awaited(engine, transfer->vector, before.vector[transfer->vector]);
	if (engine->copies) {
		copy_end(engine, outcome);
		goto interrupts;
	}
	outcome->ended = !readl_poll_timeout(engine->bar + REG_DMA_COMMAND, now, !(now & DMA_START), 100, LONGEST_US);
	dma_rmb();
	if (engine->edu) {	/* it tells nothing */
		outcome->result = outcome->ended ? DMA_RESULT_DONE : 0;
		outcome->transferred = outcome->ended ? transfer->count : 0;
	} else {
		outcome->result = readl(engine->bar + REG_DMA_RESULT);
		outcome->fault = readq(engine->bar + REG_DMA_FAULT);
		outcome->transferred = readq(engine->bar + REG_DMA_TRANSFERRED);
	}
interrupts:
	outcome->causes = atomic_read(&engine->causes);
	outcome->interrupts = engine->vectors ? 0 : -1;
	interrupts_settle(engine, &fences);
	counts_read(engine, &after);
	for (number = 0; number < engine->vectors; number++) {
		int seen = after.vector[number] - before.vector[number] - fences.vector[number];

		if (number == transfer->vector)
			outcome->interrupts = seen;
		else
			outcome->others += seen;
	}
}
