// SPDX-License-Identifier: GPL-2.0-or-later
/* The driver and its device file; see commands.c for what can be written there. */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "passthru_dma.h"

#define LONGEST_LINE 255
#define LARGEST_ANSWER (1 << 20)

/* Somebody who has the device open: the line that is being written, and what is left to read. */
struct session {
	struct engine *engine;
	char line[LONGEST_LINE + 1];
	size_t length;
	bool overlong;
	struct answer answer;
	size_t taken;
};

void tell(struct answer *answer, const char *format, ...)
{
	va_list arguments;
	size_t length;

	va_start(arguments, format);
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (answer->used + length + 1 > answer->size) {
		size_t size = max_t(size_t, 2 * answer->size, round_up(answer->used + length + 1, 1024));
		char *grown = size <= LARGEST_ANSWER ? krealloc(answer->text, size, GFP_KERNEL | __GFP_NOWARN) : NULL;

		if (!grown)
			return;	/* the reader misses a line, and does not take what it has for all */
		answer->text = grown;
		answer->size = size;
	}
	va_start(arguments, format);
	answer->used += vsnprintf(answer->text + answer->used, length + 1, format, arguments);
	va_end(arguments);
}

static void engine_release(struct kref *users)
{
	kfree(container_of(users, struct engine, users));
}

static int device_open(struct inode *inode, struct file *file)
{
	struct engine *engine = container_of(file->private_data, struct engine, misc);
	struct session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return -ENOMEM;
	kref_get(&engine->users);
	session->engine = engine;
	file->private_data = session;
	return 0;
}

static int device_release(struct inode *inode, struct file *file)
{
	struct session *session = file->private_data;

	kref_put(&session->engine->users, engine_release);
	kfree(session->answer.text);
	kfree(session);
	return 0;
}

static void take(struct session *session, char byte)
{
	struct engine *engine = session->engine;

	if (byte != '\n') {
		if (session->length < LONGEST_LINE)
			session->line[session->length++] = byte;
		else
			session->overlong = true;
		return;
	}
	session->line[session->length] = '\0';
	if (session->overlong)
		tell(&session->answer, "error a line of more than %d bytes\n", LONGEST_LINE);
	else if (engine->gone)
		tell(&session->answer, "error the device is gone\n");
	else
		command_run(engine, session->line, &session->answer);
	session->length = 0;
	session->overlong = false;
}

static ssize_t device_write(struct file *file, const char __user *from, size_t size, loff_t *position)
{
	struct session *session = file->private_data;
	size_t done;
	char byte;

	if (mutex_lock_interruptible(&session->engine->lock))
		return -ERESTARTSYS;
	for (done = 0; done < size; done++) {
		if (get_user(byte, from + done)) {
			mutex_unlock(&session->engine->lock);
			return done ? done : -EFAULT;
		}
		take(session, byte);
	}
	mutex_unlock(&session->engine->lock);
	return done;
}

static ssize_t device_read(struct file *file, char __user *to, size_t size, loff_t *position)
{
	struct session *session = file->private_data;
	struct answer *answer = &session->answer;
	ssize_t count;

	if (mutex_lock_interruptible(&session->engine->lock))
		return -ERESTARTSYS;
	count = min(size, answer->used - session->taken);
	if (copy_to_user(to, answer->text + session->taken, count))
		count = -EFAULT;
	else
		session->taken += count;
	if (session->taken == answer->used)
		session->taken = answer->used = 0;
	mutex_unlock(&session->engine->lock);
	return count;
}

static const struct file_operations device_operations = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.read = device_read,
	.write = device_write,
};

/* A device that nobody can open yet; its first user is its driver. */
struct engine *engine_make(struct device *dev, const char *what)
{
	struct engine *engine = kzalloc(sizeof(*engine), GFP_KERNEL);

	if (!engine)
		return NULL;
	kref_init(&engine->users);
	mutex_init(&engine->lock);
	init_waitqueue_head(&engine->interrupted);
	engine->dev = dev;
	engine->what = what;
	snprintf(engine->name, sizeof(engine->name), "passthru-dma-%s", dev_name(dev));
	engine->misc.minor = MISC_DYNAMIC_MINOR;
	engine->misc.name = engine->name;
	engine->misc.fops = &device_operations;
	engine->misc.parent = dev;
	return engine;
}

/* Let it interrupt and be opened; returns 0 or an errno, and then neither is so. */
int engine_offer(struct engine *engine)
{
	int failed = interrupts_set_best(engine);

	if (failed)
		return failed;
	failed = misc_register(&engine->misc);
	if (failed) {
		interrupts_free(engine);
		return failed;
	}
	dev_info(engine->dev, "%s, %s with %u vectors\n", engine->what, interrupts_name(engine), engine->vectors);
	return 0;
}

static void engine_end(struct engine *engine)
{
	misc_deregister(&engine->misc);
	mutex_lock(&engine->lock);
	engine->gone = true;
	interrupts_free(engine);
}

/* The end of what engine_offer() began, and of its driver's use. */
void engine_withdraw(struct engine *engine)
{
	engine_end(engine);
	mutex_unlock(&engine->lock);
	engine_put(engine);
}

void engine_put(struct engine *engine)
{
	kref_put(&engine->users, engine_release);
}

static int device_map(struct engine *engine)
{
	struct pci_dev *pdev = engine->pdev;
	int failed = pci_request_region(pdev, 0, DRIVER_NAME);

	if (failed)
		return failed;
	engine->bar = pci_ioremap_bar(pdev, 0);
	if (!engine->bar) {
		pci_release_region(pdev, 0);
		return -ENOMEM;
	}
	engine->buffer_offset = engine->edu ? EDU_BUFFER_OFFSET : ioread32(engine->bar + REG_BUFFER_OFFSET);
	engine->buffer_size = engine->edu ? EDU_BUFFER_SIZE : ioread32(engine->bar + REG_BUFFER_SIZE);
	if ((u64)engine->buffer_offset + engine->buffer_size > pci_resource_len(pdev, 0)) {
		dev_err(&pdev->dev, "the buffer of 0x%x bytes at 0x%x is not within BAR 0\n", engine->buffer_size,
			engine->buffer_offset);
		pci_iounmap(pdev, engine->bar);
		pci_release_region(pdev, 0);
		return -EINVAL;
	}
	return 0;
}

static void device_unmap(struct engine *engine)
{
	pci_iounmap(engine->pdev, engine->bar);
	pci_release_region(engine->pdev, 0);
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct engine *engine = engine_make(&pdev->dev, id->driver_data ? "edu" : "dma-engine");
	int failed;

	if (!engine)
		return -ENOMEM;
	engine->pdev = pdev;
	engine->edu = id->driver_data;
	pci_set_drvdata(pdev, engine);

	failed = pci_enable_device(pdev);
	if (failed)
		goto free;
	failed = dma_set_mask_and_coherent(&pdev->dev, engine->edu ? DMA_BIT_MASK(28) : DMA_BIT_MASK(64));
	if (failed)
		goto disable;
	failed = device_map(engine);
	if (failed)
		goto disable;
	pci_set_master(pdev);
	failed = engine_offer(engine);
	if (!failed)
		return 0;

	pci_clear_master(pdev);
	device_unmap(engine);
disable:
	pci_disable_device(pdev);
free:
	engine_put(engine);
	return failed;
}

static void remove(struct pci_dev *pdev)
{
	struct engine *engine = pci_get_drvdata(pdev);

	engine_end(engine);
	pci_clear_master(pdev);
	device_unmap(engine);
	pci_disable_device(pdev);
	mutex_unlock(&engine->lock);
	engine_put(engine);
}

static const struct pci_device_id devices[] = {
	{ PCI_DEVICE(0x5054, 0x444d), .driver_data = false },
	{ PCI_DEVICE(0x1234, 0x11e8), .driver_data = true },
	{}
};
MODULE_DEVICE_TABLE(pci, devices);

static struct pci_driver engine_driver = {
	.name = DRIVER_NAME,
	.id_table = devices,
	.probe = probe,
	.remove = remove,
};

static int __init start(void)
{
	int failed = pci_register_driver(&engine_driver);

	if (failed)
		return failed;
	failed = platform_driver_register(&copy_driver);
	if (failed)
		pci_unregister_driver(&engine_driver);
	return failed;
}

static void __exit end(void)
{
	platform_driver_unregister(&copy_driver);
	pci_unregister_driver(&engine_driver);
}

module_init(start);
module_exit(end);

MODULE_DESCRIPTION("Tests DMA and interrupts of passthru's dma-engine and copy-engine, and of QEMU's edu");
MODULE_LICENSE("GPL");
