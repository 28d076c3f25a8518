/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Driver of passthru's dma-engine and copy-engine (passthru/emulation/models) and, as far as it can, of QEMU's edu
 * (docs/specs/edu.rst), for tests from a shell. It takes commands and gives back what it saw; it does not judge.
 */
#ifndef PASSTHRU_DMA_H
#define PASSTHRU_DMA_H

#include <linux/atomic.h>
#include <linux/io.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/types.h>
#include <linux/wait.h>

#define DRIVER_NAME "passthru_dma"
#define INTERFACE_VERSION 2

#define MOST_VECTORS 16

/* Registers of both devices on PCI; those of the copy-engine are in copy.c. */
#define REG_IDENTIFICATION 0x00
#define REG_LIVENESS 0x04
#define REG_FACTORIAL 0x08
#define REG_STATUS 0x20
#define REG_INTERRUPT_STATUS 0x24
#define REG_INTERRUPT_RAISE 0x60
#define REG_INTERRUPT_ACKNOWLEDGE 0x64
#define REG_DMA_SOURCE 0x80
#define REG_DMA_DESTINATION 0x88
#define REG_DMA_COUNT 0x90
#define REG_DMA_COMMAND 0x98
/* Registers of the dma-engine. */
#define REG_RAISE_VECTOR 0x68
#define REG_BUFFER_OFFSET 0x70
#define REG_BUFFER_SIZE 0x74
#define REG_RESETS 0x78
#define REG_DMA_RESULT 0xa0
#define REG_DMA_FAULT 0xa8
#define REG_DMA_TRANSFERRED 0xb0

#define STATUS_COMPUTING 0x01
#define STATUS_INTERRUPT 0x80

#define DMA_START 0x1
#define DMA_TO_RAM 0x2
#define DMA_INTERRUPT 0x4
#define DMA_VECTOR_SHIFT 8

#define DMA_RESULT_DONE 1

#define EDU_BUFFER_OFFSET 0x40000
#define EDU_BUFFER_SIZE 4096

enum interrupt_kind { KIND_NONE, KIND_INTX, KIND_MSI, KIND_MSIX, KIND_LINE };

struct engine;

struct vector {
	struct engine *engine;
	unsigned int number;
	atomic_t count;
};

/* One device. It outlives its removal for as long as somebody has it open. */
struct engine {
	struct kref users;
	struct mutex lock;	/* one command at a time, and none during removal */
	struct miscdevice misc;
	char name[40];
	bool gone;

	struct device *dev;
	const char *what;
	struct pci_dev *pdev;	/* none for the copy-engine */
	int line;		/* the copy-engine's interrupt */
	void __iomem *bar;
	bool edu;
	bool copies;		/* the copy-engine: its buffer is RAM */
	u32 buffer_offset;
	u32 buffer_size;

	enum interrupt_kind kind;
	unsigned int vectors;
	struct vector vector[MOST_VECTORS];
	atomic_t spurious;	/* calls for INTx without a cause */
	atomic_t causes;	/* all that were seen since somebody cleared it */
	wait_queue_head_t interrupted;
	bool impatient;		/* an interrupt was lost, so no later one is waited for as long */
};

/* What somebody who has the device open is told; grows as needed. */
struct answer {
	char *text;
	size_t used;
	size_t size;
};

__printf(2, 3) void tell(struct answer *answer, const char *format, ...);

/* main.c */
struct engine *engine_make(struct device *dev, const char *what);
int engine_offer(struct engine *engine);
void engine_withdraw(struct engine *engine);
void engine_put(struct engine *engine);

/* interrupts.c */
struct counts {
	int vector[MOST_VECTORS];
	int spurious;
};

int interrupts_set(struct engine *engine, enum interrupt_kind kind, unsigned int most);
int interrupts_set_best(struct engine *engine);
void interrupts_free(struct engine *engine);
const char *interrupts_name(const struct engine *engine);
void counts_read(struct engine *engine, struct counts *counts);
bool interrupt_awaited(struct engine *engine, unsigned int vector, int before);
void interrupts_settle(struct engine *engine, struct counts *fences);
void raise_vector(struct engine *engine, unsigned int vector);

/* transfer.c */
struct transfer {
	bool to_device;
	dma_addr_t bus;
	dma_addr_t other;	/* the RAM that is the copy-engine's buffer */
	u32 device_offset;
	u64 count;
	unsigned int vector;
};

struct outcome {
	bool ended;
	u32 result;
	u64 fault;
	u64 transferred;
	u32 causes;
	int interrupts;		/* on the vector of the transfer; -1: there are no interrupts */
	int others;		/* on all others */
};

void transfer_run(struct engine *engine, const struct transfer *transfer, struct outcome *outcome);

/* tests.c */
struct copy_test {
	struct transfer transfer;	/* bus is the test's own */
	u32 page_offset;
	unsigned int pattern;
};

void test_copy(struct engine *engine, const struct copy_test *test, struct answer *answer);
void test_fault(struct engine *engine, const struct transfer *transfer, u64 base, struct answer *answer);
void test_raise(struct engine *engine, unsigned int vector, unsigned int times, struct answer *answer);
void test_liveness(struct engine *engine, u32 value, struct answer *answer);
void test_factorial(struct engine *engine, u32 value, struct answer *answer);
void test_reset(struct engine *engine, struct answer *answer);

/* copy.c */
extern struct platform_driver copy_driver;

int copy_line_request(struct engine *engine);
void copy_raise(struct engine *engine);
void copy_start(struct engine *engine, const struct transfer *transfer);
void copy_end(struct engine *engine, struct outcome *outcome);
void copy_reset(struct engine *engine, struct answer *answer);

/* pattern.c */
struct differences {
	size_t number;
	size_t first;
	u8 wanted;
	u8 got;
};

int pattern_number(const char *name);
const char *pattern_name(unsigned int number);
unsigned int pattern_canary(unsigned int number);
void pattern_fill(void *to, size_t size, unsigned int pattern);
void pattern_compare(const void *data, size_t size, unsigned int pattern, size_t position, struct differences *found);

/* commands.c */
void command_run(struct engine *engine, char *line, struct answer *answer);

#endif
