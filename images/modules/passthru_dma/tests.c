// SPDX-License-Identifier: GPL-2.0-or-later
/* The tests. Each tells one line of what was seen: a name, then KEY=VALUE pairs; commands.c says what they mean. */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/iopoll.h>
#include <linux/slab.h>

#include "passthru_dma.h"

#define GUARD PAGE_SIZE		/* bytes on either side that a transfer must leave alone */

/* RAM for a transfer: filled with the canary, but for "size" bytes at "start", which are the transfer's. */
struct area {
	u8 *memory;
	dma_addr_t bus;
	size_t whole;
	size_t start;
	size_t size;
};

/* The same of the device's buffer; "first" is where the memory begins in it. */
struct window {
	u8 *memory;
	u32 first;
	size_t whole;
	size_t start;
	size_t size;
	struct area area;	/* of the copy-engine: the buffer itself */
};

static bool area_make(struct engine *engine, struct area *area, u32 page_offset, size_t size)
{
	area->start = GUARD + page_offset;
	area->size = size;
	area->whole = PAGE_ALIGN(area->start + size) + GUARD;
	area->memory = dma_alloc_coherent(engine->dev, area->whole, &area->bus, GFP_KERNEL | __GFP_NOWARN);
	return area->memory;
}

static void area_free(struct engine *engine, struct area *area)
{
	if (area->memory)
		dma_free_coherent(engine->dev, area->whole, area->memory, area->bus);
}

/* What is outside of start and size must be the canary, what is inside the pattern. */
static void compare(const u8 *memory, size_t whole, size_t start, size_t size, unsigned int pattern,
		    unsigned int canary, struct differences *inside, struct differences *outside)
{
	pattern_compare(memory + start, size, pattern, 0, inside);
	pattern_compare(memory, start, canary, 0, outside);
	pattern_compare(memory + start + size, whole - start - size, canary, start + size, outside);
}

static bool window_make(struct engine *engine, struct window *window, u32 device_offset, size_t size)
{
	u32 end = min_t(u64, (u64)device_offset + size + GUARD, engine->buffer_size);

	if (engine->copies) {
		bool made = area_make(engine, &window->area, device_offset % PAGE_SIZE, size);

		window->memory = window->area.memory;
		window->start = window->area.start;
		window->size = size;
		window->whole = window->area.whole;
		return made;
	}
	window->first = device_offset > GUARD ? device_offset - GUARD : 0;
	window->start = device_offset - window->first;
	window->size = size;
	window->whole = end - window->first;
	window->memory = kvmalloc(window->whole, GFP_KERNEL);
	return window->memory;
}

static void window_free(struct engine *engine, struct window *window)
{
	if (engine->copies)
		area_free(engine, &window->area);
	else
		kvfree(window->memory);
}

static void __iomem *window_place(struct engine *engine, const struct window *window)
{
	return engine->bar + engine->buffer_offset + window->first;
}

static void window_write_canary(struct engine *engine, struct window *window)
{
	pattern_fill(window->memory, window->whole, pattern_canary(1));
	if (!engine->copies)
		memcpy_toio(window_place(engine, window), window->memory, window->whole);
}

static void window_write(struct engine *engine, struct window *window, unsigned int pattern)
{
	window_write_canary(engine, window);
	pattern_fill(window->memory + window->start, window->size, pattern);
	if (!engine->copies)
		memcpy_toio(window_place(engine, window) + window->start, window->memory + window->start, window->size);
}

static void window_read(struct engine *engine, struct window *window)
{
	if (!engine->copies)
		memcpy_fromio(window->memory, window_place(engine, window), window->whole);
}

static void tell_outcome(struct answer *answer, const struct outcome *outcome)
{
	tell(answer, " ended=%d result=%u fault=0x%llx transferred=%llu causes=0x%x interrupts=%d others=%d",
	     outcome->ended, outcome->result, outcome->fault, outcome->transferred, outcome->causes, outcome->interrupts,
	     outcome->others);
}

/* Positions are told from where the transfer begins, which "base" is in the compared memory. */
static void tell_differences(struct answer *answer, const char *name, const struct differences *found, size_t base)
{
	tell(answer, " %s=%zu", name, found->number);
	if (found->number)
		tell(answer, " %s-at=%zd %s-wanted=%02x %s-got=%02x", name, (ssize_t)(found->first - base), name,
		     found->wanted, name, found->got);
}

/* The buffer of edu can only be reached by DMA: there and back, and what came back is compared. */
static void copy_by_edu(struct engine *engine, const struct copy_test *test, struct area *area, struct answer *answer)
{
	struct differences wrong = {}, outside = {}, source = {}, source_outside = {};
	struct transfer there = test->transfer, back = test->transfer;
	struct outcome first, second;

	pattern_fill(area->memory, area->whole, pattern_canary(0));
	pattern_fill(area->memory + area->start, area->size, test->pattern);
	there.to_device = true;
	back.to_device = false;
	there.bus = back.bus = area->bus + area->start;
	transfer_run(engine, &there, &first);
	compare(area->memory, area->whole, area->start, area->size, test->pattern, pattern_canary(0), &source,
		&source_outside);
	pattern_fill(area->memory, area->whole, pattern_canary(0));
	transfer_run(engine, &back, &second);
	compare(area->memory, area->whole, area->start, area->size, test->pattern, pattern_canary(0), &wrong, &outside);
	tell(answer, " via=dma");
	tell_outcome(answer, test->transfer.to_device ? &first : &second);
	tell_differences(answer, "wrong", &wrong, 0);
	tell_differences(answer, "outside", &outside, area->start);
	tell_differences(answer, "source", &source, 0);
	tell_differences(answer, "beside", &source_outside, area->start);
}

static void copy_by_engine(struct engine *engine, const struct copy_test *test, struct area *area,
			   struct answer *answer)
{
	bool to_device = test->transfer.to_device;
	struct differences ram_inside = {}, ram_outside = {}, device_inside = {}, device_outside = {};
	struct transfer transfer = test->transfer;
	struct outcome outcome;
	struct window window = {};

	if (!window_make(engine, &window, transfer.device_offset, area->size)) {
		tell(answer, " error=memory");
		return;
	}
	if (to_device)
		window_write_canary(engine, &window);
	else
		window_write(engine, &window, test->pattern);
	pattern_fill(area->memory, area->whole, pattern_canary(0));
	if (to_device)
		pattern_fill(area->memory + area->start, area->size, test->pattern);
	transfer.bus = area->bus + area->start;
	transfer.other = window.area.bus + window.start;
	transfer_run(engine, &transfer, &outcome);
	window_read(engine, &window);
	compare(area->memory, area->whole, area->start, area->size, test->pattern, pattern_canary(0), &ram_inside,
		&ram_outside);
	compare(window.memory, window.whole, window.start, window.size, test->pattern, pattern_canary(1),
		&device_inside, &device_outside);
	window_free(engine, &window);
	tell(answer, " via=%s", engine->copies ? "ram" : "registers");
	tell_outcome(answer, &outcome);
	if (to_device) {
		tell_differences(answer, "wrong", &device_inside, 0);
		tell_differences(answer, "outside", &device_outside, window.start);
		tell_differences(answer, "source", &ram_inside, 0);
		tell_differences(answer, "beside", &ram_outside, area->start);
	} else {
		tell_differences(answer, "wrong", &ram_inside, 0);
		tell_differences(answer, "outside", &ram_outside, area->start);
		tell_differences(answer, "source", &device_inside, 0);
		tell_differences(answer, "beside", &device_outside, window.start);
	}
}

void test_copy(struct engine *engine, const struct copy_test *test, struct answer *answer)
{
	const struct transfer *transfer = &test->transfer;
	struct area area;

	tell(answer, "copy direction=%s size=%llu offset=%u pattern=%s vector=%u device=%u",
	     transfer->to_device ? "to-device" : "from-device", transfer->count, test->page_offset,
	     pattern_name(test->pattern), transfer->vector, transfer->device_offset);
	if (!area_make(engine, &area, test->page_offset, transfer->count)) {
		tell(answer, " error=memory\n");
		return;
	}
	tell(answer, " bus=0x%llx", (u64)area.bus + area.start);
	if (engine->edu)
		copy_by_edu(engine, test, &area, answer);
	else
		copy_by_engine(engine, test, &area, answer);
	tell(answer, "\n");
	area_free(engine, &area);
}

/*
 * A transfer at an address that is "base" above some RAM of ours: a device that loses the upper bits of an address
 * would find RAM there, so neither RAM nor buffer may change.
 */
void test_fault(struct engine *engine, const struct transfer *wanted, u64 base, struct answer *answer)
{
	struct differences ram = {}, device = {};
	struct transfer transfer = *wanted;
	struct outcome outcome;
	struct window window = {};
	struct area area;

	tell(answer, "fault direction=%s size=%llu base=0x%llx vector=%u",
	     transfer.to_device ? "to-device" : "from-device", transfer.count, base, transfer.vector);
	if (engine->edu) {
		tell(answer, " error=unsupported\n");
		return;
	}
	if (!area_make(engine, &area, 0, transfer.count)) {
		tell(answer, " error=memory\n");
		return;
	}
	if (window_make(engine, &window, transfer.device_offset, transfer.count)) {
		pattern_fill(area.memory, area.whole, pattern_canary(0));
		window_write_canary(engine, &window);
		transfer.bus = base + area.bus + area.start;
		transfer.other = window.area.bus + window.start;
		transfer_run(engine, &transfer, &outcome);
		window_read(engine, &window);
		pattern_compare(area.memory, area.whole, pattern_canary(0), 0, &ram);
		pattern_compare(window.memory, window.whole, pattern_canary(1), 0, &device);
		tell(answer, " bus=0x%llx", (u64)transfer.bus);
		tell_outcome(answer, &outcome);
		tell_differences(answer, "ram", &ram, area.start);
		tell_differences(answer, "buffer", &device, window.start);
		window_free(engine, &window);
	} else {
		tell(answer, " error=memory");
	}
	tell(answer, "\n");
	area_free(engine, &area);
}

void test_raise(struct engine *engine, unsigned int vector, unsigned int times, struct answer *answer)
{
	struct counts before, after, fences;
	unsigned int number, seen;

	counts_read(engine, &before);
	for (seen = 0; seen < times; seen++) {
		int count = atomic_read(&engine->vector[vector].count);

		raise_vector(engine, vector);
		if (!interrupt_awaited(engine, vector, count))
			break;
	}
	interrupts_settle(engine, &fences);
	counts_read(engine, &after);
	tell(answer, "raise vector=%u times=%u raised=%u spurious=%d counts=", vector, times, min(seen + 1, times),
	     after.spurious - before.spurious);
	for (number = 0; number < engine->vectors; number++)
		tell(answer, "%s%d", number ? "," : "",
		     after.vector[number] - before.vector[number] - fences.vector[number]);
	tell(answer, "\n");
}

void test_liveness(struct engine *engine, u32 value, struct answer *answer)
{
	iowrite32(value, engine->bar + REG_LIVENESS);
	tell(answer, "liveness wrote=0x%x got=0x%x\n", value, ioread32(engine->bar + REG_LIVENESS));
}

void test_factorial(struct engine *engine, u32 value, struct answer *answer)
{
	struct counts before, after, fences;
	u32 status, wanted = 1, factor;

	for (factor = 2; factor <= value && wanted; factor++)
		wanted *= factor;
	counts_read(engine, &before);
	if (engine->vectors)
		iowrite32(STATUS_INTERRUPT, engine->bar + REG_STATUS);
	iowrite32(value, engine->bar + REG_FACTORIAL);
	if (engine->vectors)
		interrupt_awaited(engine, 0, before.vector[0]);
	readl_poll_timeout(engine->bar + REG_STATUS, status, !(status & STATUS_COMPUTING), 100, 1000000);
	tell(answer, "factorial of=%u got=%u wanted=%u status=0x%x", value, ioread32(engine->bar + REG_FACTORIAL), wanted,
	     status);
	iowrite32(0, engine->bar + REG_STATUS);
	interrupts_settle(engine, &fences);
	counts_read(engine, &after);
	tell(answer, " interrupts=%d\n",
	     engine->vectors ? after.vector[0] - before.vector[0] - fences.vector[0] : -1);
}

/* What is left of a pattern in buffer and registers after the device's own reset. */
void test_reset(struct engine *engine, struct answer *answer)
{
	struct window window;
	size_t index, left = 0;
	u32 resets;
	int failed;

	if (engine->copies) {
		copy_reset(engine, answer);
		return;
	}
	if (engine->edu) {
		tell(answer, "reset error=unsupported\n");
		return;
	}
	if (!window_make(engine, &window, 0, engine->buffer_size)) {
		tell(answer, "reset error=memory\n");
		return;
	}
	window_write_canary(engine, &window);
	iowrite32(0x12345678, engine->bar + REG_LIVENESS);
	writeq(0x123456789abcdefull, engine->bar + REG_DMA_SOURCE);
	resets = ioread32(engine->bar + REG_RESETS);
	failed = pci_try_reset_function(engine->pdev);
	tell(answer, "reset failed=%d resets=%d", -failed, (int)(ioread32(engine->bar + REG_RESETS) - resets));
	window_read(engine, &window);
	for (index = 0; index < window.whole; index++)
		left += window.memory[index] != 0;
	kvfree(window.memory);
	tell(answer, " liveness=0x%x source=0x%llx buffer=%zu master=%d\n", ioread32(engine->bar + REG_LIVENESS),
	     readq(engine->bar + REG_DMA_SOURCE), left, engine->pdev->is_busmaster);
}
