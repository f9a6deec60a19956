// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The gate. A frame passes: parse.h (headers) -> verdict.h (the maps of maps.h, sockets by session.h)
 * -> statistics -> passed or dropped. What can't be read passes: it is nobody's. What passes is looked at
 * by evidence.h, as is what this host sends, and told by report.h.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "tidegate.h"
#include "maps.h"
#include "parse.h"
#include "session.h"
#include "verdict.h"
#include "evidence.h"

static __always_inline struct tg_cursor tg_cursor_of(struct xdp_md *ctx)
{
	struct tg_cursor cursor = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};

	return cursor;
}

static __always_inline int tg_pass_gate(struct xdp_md *ctx, __u32 length)
{
	struct tg_cursor cursor = tg_cursor_of(ctx);
	struct tg_packet packet = {};
	__u32 outcome;

	cursor.limit = length;
	tg_parse(ctx, &cursor, &packet, 1);
	if (packet.result == TG_OK) {
		outcome = tg_judge(ctx, &packet);
		if (packet.fragment)
			tg_count(TG_FRAGMENT, packet.ip_bytes);
		tg_count(outcome, packet.ip_bytes);
		if (tg_is_drop(outcome))
			return XDP_DROP;
		tg_witness(ctx, &cursor, &packet, 1);
		return XDP_PASS;
	}
	tg_count(packet.result == TG_RESULT_MALFORMED ? TG_MALFORMED : TG_NOT_IP, length);
	return XDP_PASS;
}

SEC("xdp")
int tidegate(struct xdp_md *ctx)
{
	return tg_pass_gate(ctx, ctx->data_end - ctx->data);
}

/* For frames that lie in several pieces (jumbo MTU): headers are read in the first. Since Linux 5.18. */
SEC("xdp.frags")
int tidegate_frags(struct xdp_md *ctx)
{
	return tg_pass_gate(ctx, bpf_xdp_get_buff_len(ctx));
}

/* Enough of a frame to read its headers: what is further back in a buffer of several pieces is pulled up. */
#define TG_HEADERS 128

/* What this host sends, and what it forwards: replies, and contacts of its own. Changes nothing. */
SEC("classifier")
int tidegate_egress(struct __sk_buff *ctx)
{
	struct tg_cursor cursor = { .limit = ctx->len };
	struct tg_packet packet = {};

	if (ctx->data_end - ctx->data < TG_HEADERS && ctx->data_end - ctx->data < ctx->len)
		bpf_skb_pull_data(ctx, ctx->len < TG_HEADERS ? ctx->len : TG_HEADERS);
	cursor.data = (void *)(long)ctx->data;
	cursor.end = (void *)(long)ctx->data_end;
	tg_parse(ctx, &cursor, &packet, 0);
	if (packet.result == TG_OK)
		tg_witness(ctx, &cursor, &packet, 0);
	/* TCX_NEXT, and TC_ACT_UNSPEC with clsact: whoever else is there decides. */
	return -1;
}

/* Does nothing: what a packet costs at least. */
SEC("xdp")
int tidegate_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Puts what was read of a frame in front of it: for tests of parse.h alone. */
SEC("xdp")
int tidegate_parse(struct xdp_md *ctx)
{
	struct tg_cursor cursor = tg_cursor_of(ctx);
	struct tg_packet packet = {};

	cursor.limit = ctx->data_end - ctx->data;
	tg_parse(ctx, &cursor, &packet, 1);
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(packet)))
		return XDP_ABORTED;
	cursor = tg_cursor_of(ctx);
	if (cursor.data + sizeof(packet) > cursor.end)
		return XDP_ABORTED;
	__builtin_memcpy(cursor.data, &packet, sizeof(packet));
	return XDP_PASS;
}

/* bpf_sk_lookup_* and friends are for programs under the GPL: docs/adr/0018. */
char tg_license[] SEC("license") = "Dual BSD/GPL";
