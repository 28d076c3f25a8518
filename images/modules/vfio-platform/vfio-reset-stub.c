// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A reset driver for every device of the device tree, which resets nothing and counts.
 *
 * vfio-platform and vfio-amba look for a reset function by the first "compatible" string of a device, and the kernel has
 * three, for hardware that no rig has. Linux 6.1 binds no device without one, not even with reset_required=0 (ENOENT),
 * and no kernel has VFIO_DEVICE_RESET for such a device. With this module loaded all of them have one.
 *
 * /sys/module/vfio_reset_stub/parameters/resets says how often it was called.
 */

#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/of.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "vfio_platform_private.h"

static atomic_t resets = ATOMIC_INIT(0);
static struct vfio_platform_reset_node *nodes;
static unsigned int registered;

static int get_resets(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&resets));
}

static const struct kernel_param_ops resets_ops = {
	.get = get_resets,
};
module_param_cb(resets, &resets_ops, NULL, 0444);
MODULE_PARM_DESC(resets, "how many resets there were");

static int count_a_reset(struct vfio_platform_device *vdev)
{
	atomic_inc(&resets);
	return 0;
}

static bool is_registered(const char *compatible)
{
	unsigned int i;

	for (i = 0; i < registered; i++)
		if (!strcmp(nodes[i].compat, compatible))
			return true;
	return false;
}

static int __init vfio_reset_stub_init(void)
{
	struct device_node *node;
	const char *compatible;
	unsigned int most = 0;

	for_each_node_with_property(node, "compatible")
		most++;
	nodes = kcalloc(most, sizeof(*nodes), GFP_KERNEL);
	if (!nodes)
		return -ENOMEM;
	for_each_node_with_property(node, "compatible") {
		if (registered == most) {
			of_node_put(node);
			break;
		}
		if (of_property_read_string(node, "compatible", &compatible) || is_registered(compatible))
			continue;
		/* A copy: a node of an overlay may go while its name is in the list. */
		nodes[registered].compat = kstrdup(compatible, GFP_KERNEL);
		if (!nodes[registered].compat)
			continue;
		nodes[registered].owner = THIS_MODULE;
		nodes[registered].of_reset = count_a_reset;
		__vfio_platform_register_reset(&nodes[registered]);
		registered++;
	}
	pr_info("vfio-reset-stub: %u kinds of devices can be reset\n", registered);
	return 0;
}

static void __exit vfio_reset_stub_exit(void)
{
	unsigned int i;

	for (i = 0; i < registered; i++) {
		vfio_platform_unregister_reset(nodes[i].compat, count_a_reset);
		kfree(nodes[i].compat);
	}
	kfree(nodes);
}

module_init(vfio_reset_stub_init);
module_exit(vfio_reset_stub_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Resets for platform devices without a reset driver: they do nothing, and are counted");
