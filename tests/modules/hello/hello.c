// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/module.h>

static char *whom = "nobody";
module_param(whom, charp, 0444);
MODULE_PARM_DESC(whom, "who is greeted");

static int __init hello_init(void)
{
	pr_info("hello %s, from %s line %d\n", whom, __FILE__, __LINE__);
	return 0;
}

static void __exit hello_exit(void)
{
	pr_info("hello has gone\n");
}

module_init(hello_init);
module_exit(hello_exit);
MODULE_DESCRIPTION("Says one line when it is loaded");
MODULE_LICENSE("GPL");
