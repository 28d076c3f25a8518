// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Commands, one a line, written to /dev/passthru-dma-ADDRESS; the answers are read from the same open file, one line
 * for each: the command's word and KEY=VALUE pairs, or "error" and a sentence.
 *
 * info                              what the device and this driver are; intx, msi, msix and line are the vectors it offers
 * liveness VALUE                    the register that inverts
 * factorial N
 * interrupts none|intx|msi|msix|line|best [MOST]
 * raise VECTOR TIMES                interrupt that often, each time waiting for it; counts by vector
 * copy to-device|from-device SIZE PAGE-OFFSET PATTERN [VECTOR [DEVICE-OFFSET]]
 *                                   a transfer with RAM that begins PAGE-OFFSET into a page; PATTERN is zeros, ones,
 *                                   checker, walking, offset or random. wrong, outside, source and beside count bytes:
 *                                   of the target that are not the pattern, beside the target that changed, of the
 *                                   source and beside it that changed; -at, -wanted and -got tell of the first, from
 *                                   where the transfer begins. interrupts and others count those on VECTOR and on all
 *                                   the others. edu compares what a second transfer brought back (via=dma).
 *                                   The copy-engine's buffer is RAM of ours that begins DEVICE-OFFSET into a page.
 * fault to-device|from-device SIZE BASE [VECTOR]
 *                                   a transfer at BASE plus an address of our RAM; ram and buffer count changed bytes
 * master on|off                     bus mastering
 * reset                             the device's own reset, and what it left
 */
#include <linux/kernel.h>
#include <linux/string.h>

#include "passthru_dma.h"

#define MOST_WORDS 8
#define LARGEST_COPY (4 << 20)	/* bytes; what the page allocator gives in one piece */
#define MOST_TIMES 10000

static bool number(const char *word, u64 most, u64 *value)
{
	return word && !kstrtoull(word, 0, value) && *value <= most;
}

static bool direction(const char *word, bool *to_device)
{
	*to_device = word && !strcmp(word, "to-device");
	return *to_device || (word && !strcmp(word, "from-device"));
}

/* An optional vector, which must be in use unless there are no interrupts. */
static bool vector(struct engine *engine, const char *word, unsigned int *found)
{
	u64 value = 0;

	if (word && !number(word, engine->vectors ? engine->vectors - 1 : 0, &value))
		return false;
	*found = value;
	return true;
}

static bool run_info(struct engine *engine, char **words, struct answer *answer)
{
	struct pci_dev *pdev = engine->pdev;

	tell(answer, "info interface=%d device=%04x:%04x kind=%s id=0x%x buffer=%u page=%lu interrupts=%s vectors=%u",
	     INTERFACE_VERSION, pdev ? pdev->vendor : 0, pdev ? pdev->device : 0, engine->what,
	     ioread32(engine->bar + REG_IDENTIFICATION), engine->buffer_size, PAGE_SIZE, interrupts_name(engine),
	     engine->vectors);
	tell(answer, " intx=%d msi=%d msix=%d line=%d master=%d dma-bits=%d\n", pdev && pdev->pin != 0,
	     pdev ? max(pci_msi_vec_count(pdev), 0) : 0, pdev ? max(pci_msix_vec_count(pdev), 0) : 0, engine->copies,
	     !pdev || pdev->is_busmaster, fls64(*engine->dev->dma_mask));
	return true;
}

static bool run_liveness(struct engine *engine, char **words, struct answer *answer)
{
	u64 value;

	if (engine->copies || !number(words[1], U32_MAX, &value))
		return false;
	test_liveness(engine, value, answer);
	return true;
}

static bool run_factorial(struct engine *engine, char **words, struct answer *answer)
{
	u64 value;

	if (engine->copies || !number(words[1], 1000, &value))
		return false;
	test_factorial(engine, value, answer);
	return true;
}

static bool run_interrupts(struct engine *engine, char **words, struct answer *answer)
{
	static const char *const kinds[] = { "none", "intx", "msi", "msix", "line", "best" };
	int kind = words[1] ? match_string(kinds, ARRAY_SIZE(kinds), words[1]) : -1;
	u64 most = MOST_VECTORS;
	int failed;

	if (kind < 0 || (words[2] && !number(words[2], MOST_VECTORS, &most)))
		return false;
	engine->impatient = false;
	if (kind == ARRAY_SIZE(kinds) - 1)
		failed = interrupts_set_best(engine);
	else
		failed = interrupts_set(engine, kind, most);
	tell(answer, "interrupts asked=%s failed=%d kind=%s vectors=%u\n", words[1], -failed, interrupts_name(engine),
	     engine->vectors);
	return true;
}

static bool run_raise(struct engine *engine, char **words, struct answer *answer)
{
	unsigned int which;
	u64 times;

	if (!words[1] || !vector(engine, words[1], &which) || !number(words[2], MOST_TIMES, &times) || !engine->vectors)
		return false;
	test_raise(engine, which, times, answer);
	return true;
}

static bool run_copy(struct engine *engine, char **words, struct answer *answer)
{
	struct copy_test test = {};
	u64 size, page_offset, device_offset = 0;
	int pattern;

	if (!direction(words[1], &test.transfer.to_device) ||
	    !number(words[2], min_t(u64, LARGEST_COPY, engine->buffer_size), &size) || !size ||
	    !number(words[3], PAGE_SIZE - 1, &page_offset) || !words[4])
		return false;
	pattern = pattern_number(words[4]);
	if (pattern < 0 || !vector(engine, words[5], &test.transfer.vector) ||
	    (words[5] && words[6] && !number(words[6], engine->buffer_size - size, &device_offset)))
		return false;
	test.transfer.count = size;
	test.transfer.device_offset = device_offset;
	test.page_offset = page_offset;
	test.pattern = pattern;
	test_copy(engine, &test, answer);
	return true;
}

static bool run_fault(struct engine *engine, char **words, struct answer *answer)
{
	struct transfer transfer = {};
	u64 size, base;

	if (!direction(words[1], &transfer.to_device) ||
	    !number(words[2], min_t(u64, LARGEST_COPY, engine->buffer_size), &size) || !size ||
	    !number(words[3], U64_MAX, &base) || !vector(engine, words[4], &transfer.vector))
		return false;
	transfer.count = size;
	test_fault(engine, &transfer, base, answer);
	return true;
}

static bool run_master(struct engine *engine, char **words, struct answer *answer)
{
	u16 command;

	if (!engine->pdev)
		return false;
	if (words[1] && !strcmp(words[1], "on"))
		pci_set_master(engine->pdev);
	else if (words[1] && !strcmp(words[1], "off"))
		pci_clear_master(engine->pdev);
	else
		return false;
	pci_read_config_word(engine->pdev, PCI_COMMAND, &command);
	tell(answer, "master asked=%s command=0x%x\n", words[1], command);
	return true;
}

static bool run_reset(struct engine *engine, char **words, struct answer *answer)
{
	test_reset(engine, answer);
	return true;
}

static const struct {
	const char *name;
	bool (*run)(struct engine *engine, char **words, struct answer *answer);
} commands[] = {
	{ "info", run_info },
	{ "liveness", run_liveness },
	{ "factorial", run_factorial },
	{ "interrupts", run_interrupts },
	{ "raise", run_raise },
	{ "copy", run_copy },
	{ "fault", run_fault },
	{ "master", run_master },
	{ "reset", run_reset },
};

/* Run one line, which is cut into its words; the engine's lock is held and the device is there. */
void command_run(struct engine *engine, char *line, struct answer *answer)
{
	char *words[MOST_WORDS + 1] = {};
	unsigned int count = 0, index;
	char *word;

	while ((word = strsep(&line, " \t"))) {
		if (!*word)
			continue;
		if (count == MOST_WORDS) {
			tell(answer, "error %s: too many words\n", words[0]);
			return;
		}
		words[count++] = word;
	}
	if (!count)
		return;
	for (index = 0; index < ARRAY_SIZE(commands); index++) {
		if (strcmp(commands[index].name, words[0]))
			continue;
		if (!commands[index].run(engine, words, answer))
			tell(answer, "error %s: its words are wrong or out of range\n", words[0]);
		return;
	}
	tell(answer, "error %s: no such command\n", words[0]);
}
