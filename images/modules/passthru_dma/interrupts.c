// SPDX-License-Identifier: GPL-2.0-or-later
/* Interrupts of all kinds, counted by vector. */
#include <linux/delay.h>
#include <linux/interrupt.h>

#include "passthru_dma.h"

#ifndef PCI_IRQ_INTX		/* before Linux 6.8 */
#define PCI_IRQ_INTX PCI_IRQ_LEGACY
#endif

#define PATIENCE_MS 1000
#define IMPATIENCE_MS 10	/* after one that was lost, which is a failure already */
#define CAUSE_OF_A_FENCE 0x2

static irqreturn_t handle(int irq, void *data)
{
	struct vector *vector = data;
	struct engine *engine = vector->engine;
	u32 causes = ioread32(engine->bar + REG_INTERRUPT_STATUS);

	if (engine->kind == KIND_INTX && (!causes || causes == ~0u)) {
		/* VFIO lets INTx through anew at the first access of a handler, when its cause is still there. */
		atomic_inc(&engine->spurious);
		return IRQ_NONE;
	}
	if (causes)
		iowrite32(causes, engine->bar + REG_INTERRUPT_ACKNOWLEDGE);
	atomic_or(causes, &engine->causes);
	atomic_inc(&vector->count);
	wake_up(&engine->interrupted);
	return IRQ_HANDLED;
}

void interrupts_free(struct engine *engine)
{
	unsigned int number;

	if (engine->kind == KIND_LINE)
		free_irq(engine->line, &engine->vector[0]);
	for (number = 0; engine->pdev && number < engine->vectors; number++)
		free_irq(pci_irq_vector(engine->pdev, number), &engine->vector[number]);
	if (engine->pdev && engine->kind != KIND_NONE)
		pci_free_irq_vectors(engine->pdev);
	engine->vectors = 0;
	engine->kind = KIND_NONE;
}

static int line_set(struct engine *engine)
{
	struct vector *vector = &engine->vector[0];
	int failed;

	vector->engine = engine;
	vector->number = 0;
	atomic_set(&vector->count, 0);
	failed = copy_line_request(engine);
	if (failed)
		return failed;
	engine->kind = KIND_LINE;
	engine->vectors = 1;
	return 0;
}

/* Use this kind of interrupt, with as many vectors as there are, up to "most"; returns 0 or an errno. */
int interrupts_set(struct engine *engine, enum interrupt_kind kind, unsigned int most)
{
	static const unsigned int flags[] = { 0, PCI_IRQ_INTX, PCI_IRQ_MSI, PCI_IRQ_MSIX };
	int got, failed = 0;
	unsigned int number;

	interrupts_free(engine);
	if (kind == KIND_NONE)
		return 0;
	if ((kind == KIND_LINE) != engine->copies)
		return -EOPNOTSUPP;
	if (kind == KIND_LINE)
		return line_set(engine);
	/* What was raised while nobody listened is not counted. */
	iowrite32(~0u, engine->bar + REG_INTERRUPT_ACKNOWLEDGE);
	got = pci_alloc_irq_vectors(engine->pdev, 1, clamp(most, 1u, (unsigned int)MOST_VECTORS), flags[kind]);
	if (got < 0)
		return got;
	engine->kind = kind;
	for (number = 0; number < got; number++) {
		struct vector *vector = &engine->vector[number];

		vector->engine = engine;
		vector->number = number;
		atomic_set(&vector->count, 0);
		failed = request_irq(pci_irq_vector(engine->pdev, number), handle, kind == KIND_INTX ? IRQF_SHARED : 0,
				     engine->name, vector);
		if (failed)
			break;
		engine->vectors = number + 1;
	}
	if (failed)
		interrupts_free(engine);
	return failed;
}

int interrupts_set_best(struct engine *engine)
{
	if (engine->copies)
		return interrupts_set(engine, KIND_LINE, 1);
	if (!interrupts_set(engine, KIND_MSIX, MOST_VECTORS) || !interrupts_set(engine, KIND_MSI, MOST_VECTORS))
		return 0;
	return interrupts_set(engine, KIND_INTX, 1);
}

const char *interrupts_name(const struct engine *engine)
{
	static const char *const names[] = { "none", "intx", "msi", "msix", "line" };

	return names[engine->kind];
}

void counts_read(struct engine *engine, struct counts *counts)
{
	unsigned int number;

	for (number = 0; number < MOST_VECTORS; number++)
		counts->vector[number] = number < engine->vectors ? atomic_read(&engine->vector[number].count) : 0;
	counts->spurious = atomic_read(&engine->spurious);
}

/* Wait until the count of a vector is no more what it was; false if that does not come. */
bool interrupt_awaited(struct engine *engine, unsigned int vector, int before)
{
	unsigned int patience = engine->impatient ? IMPATIENCE_MS : PATIENCE_MS;

	if (vector >= engine->vectors)
		return false;
	if (wait_event_timeout(engine->interrupted, atomic_read(&engine->vector[vector].count) != before,
			       msecs_to_jiffies(patience)))
		return true;
	engine->impatient = true;
	return false;
}

/* Interrupt on a vector by the cause that the device has for it. */
void raise_vector(struct engine *engine, unsigned int vector)
{
	if (engine->copies)
		copy_raise(engine);
	else if (engine->edu)
		iowrite32(CAUSE_OF_A_FENCE << 1, engine->bar + REG_INTERRUPT_RAISE);
	else
		iowrite32(vector, engine->bar + REG_RAISE_VECTOR);
}

/*
 * Let interrupts that nobody expects arrive: whatever the device sent so far overtakes two more on vector 0, one after
 * the other, since the loop of a VMM that forwards them has gone round in between. "fences" has those that came of it.
 * Once an interrupt was lost there are none, which might be lost as well and only blur what is told.
 */
void interrupts_settle(struct engine *engine, struct counts *fences)
{
	int number;

	memset(fences, 0, sizeof(*fences));
	for (number = 0; engine->vectors && !engine->impatient && number < 2; number++) {
		int before = atomic_read(&engine->vector[0].count);

		if (engine->copies)
			copy_raise(engine);
		else
			iowrite32(CAUSE_OF_A_FENCE, engine->bar + REG_INTERRUPT_RAISE);
		if (interrupt_awaited(engine, 0, before))
			fences->vector[0]++;
	}
	/* The same vector again could still be merged with a fence; what comes late by this much is seen. */
	usleep_range(1000, 1500);
}
