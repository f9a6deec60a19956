/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is made of a packet beside its verdict: it is counted to its flow, and looked at for contacts. */
#ifndef TIDEGATE_WITNESS_H
#define TIDEGATE_WITNESS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "account.h"
#include "evidence.h"
#include "parse.h"

/* Whether anything is to be made of packets. */
static __always_inline int tg_has_witness(void)
{
	return tg_contacts || tg_accounts;
}

/* Reads a frame's headers, once for both. */
static __always_inline void tg_witness(void *ctx, struct tg_cursor *cursor, int by_xdp)
{
	struct tg_packet packet TG_ALIGNED = {};
	struct tg_head head = {};

	if (tg_parse_head(ctx, cursor, &head, by_xdp) != TG_OK)
		return;
	tg_describe(cursor, &head, &packet);
	if (tg_accounts && by_xdp)
		tg_account_in(cursor, &packet);
	else if (tg_accounts)
		tg_account_out(ctx, cursor, &packet, head.ip - (__u8 *)cursor->data);
	/* Last: it puts the packet that an error quotes in place of the error. */
	if (tg_contacts)
		tg_look(ctx, cursor, &packet, by_xdp);
}

/*
 * Looks at a frame that goes on: dropped traffic raises nobody's score, and its verdict counts it. A global
 * function, which the verifier looks at once (as tg_walk): behind each way through the verdicts it would take
 * half of its million of instructions. That headers are read again is the price.
 */
__noinline int tg_witness_xdp(struct xdp_md *ctx, __u32 length)
{
	struct tg_cursor cursor = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.limit = length,
	};

	tg_witness(ctx, &cursor, 1);
	return 0;
}

#endif
