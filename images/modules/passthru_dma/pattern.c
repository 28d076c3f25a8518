// SPDX-License-Identifier: GPL-2.0-or-later
/* Patterns: what is at a position depends on the position only, so that data at another place is wrong data. */
#include <linux/string.h>

#include "passthru_dma.h"

static const char *const names[] = { "zeros", "ones", "checker", "walking", "offset", "random" };

/* Behind the patterns that have a name there are two that fill what a transfer must not touch. */
enum { ZEROS, ONES, CHECKER, WALKING, OFFSET, RANDOM, CANARY, INVERSE_CANARY };

static u8 mixed(u32 value)
{
	value *= 0x9e3779b1;
	value ^= value >> 15;
	value *= 0x85ebca77;
	return value >> 24;
}

static u8 value_at(unsigned int pattern, size_t position)
{
	switch (pattern) {
	case ONES:
		return 0xff;
	case CHECKER:
		return position & 1 ? 0xaa : 0x55;
	case WALKING:
		return 1 << position % 9;	/* of nine, so that it differs from page to page */
	case OFFSET:
		return position >> 2 >> 8 * (position & 3);
	case RANDOM:
		return mixed(position);
	case CANARY:
		return mixed(position ^ 0x5ca1ab1e);
	case INVERSE_CANARY:
		return ~mixed(position ^ 0x5ca1ab1e);
	default:
		return 0;
	}
}

/* The number of the pattern called so, -1 for none. */
int pattern_number(const char *name)
{
	return match_string(names, ARRAY_SIZE(names), name);
}

const char *pattern_name(unsigned int number)
{
	return number < ARRAY_SIZE(names) ? names[number] : "canary";
}

/* Two fillings that differ from each other everywhere: number 0 for RAM and 1 for the device. */
unsigned int pattern_canary(unsigned int number)
{
	return number ? INVERSE_CANARY : CANARY;
}

void pattern_fill(void *to, size_t size, unsigned int pattern)
{
	u8 *at = to;
	size_t position;

	for (position = 0; position < size; position++)
		at[position] = value_at(pattern, position);
}

/* Count the bytes that differ; the first of all calls is kept. Data begins at that position of its pattern. */
void pattern_compare(const void *data, size_t size, unsigned int pattern, size_t position, struct differences *found)
{
	const u8 *at = data;
	size_t index;

	for (index = 0; index < size; index++) {
		u8 wanted = value_at(pattern, position + index);

		if (likely(at[index] == wanted))
			continue;
		if (!found->number) {
			found->first = position + index;
			found->wanted = wanted;
			found->got = at[index];
		}
		found->number++;
	}
}
