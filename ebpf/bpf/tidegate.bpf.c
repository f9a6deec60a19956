// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The gate. A frame passes: parse.h (headers) -> verdict.h (the maps of maps.h, sockets by session.h)
 * -> guard.h, if it is on -> statistics -> passed or dropped. What can't be read passes: it is nobody's. What
 * passes, and what this host sends, is counted by account.h, looked at by evidence.h and told by report.h; single
 * frames of it are reported by sample.h; what is dropped is counted by denied.h.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "tidegate.h"
#include "maps.h"
#include "parse.h"
#include "session.h"
#include "verdict.h"
#include "denied.h"
#include "guard.h"
#include "evidence.h"
#include "sample.h"
#include "witness.h"

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
	struct tg_head head = {};
	__u32 outcome;
	int result;

	cursor.limit = length;
	result = tg_parse_head(ctx, &cursor, &head, 1);
	if (result == TG_OK) {
		outcome = tg_judge(ctx, &cursor, &head);
		if (tg_guard_ports)
			outcome = tg_guarded(ctx, &cursor, &head, outcome);
		if (head.fragment)
			tg_count(TG_FRAGMENT, head.ip_bytes);
		tg_count(outcome, head.ip_bytes);
		if (tg_is_drop(outcome)) {
			if (tg_denials)
				tg_deny(ctx, length, outcome);
			return XDP_DROP;
		}
		if (tg_has_witness())
			tg_witness_xdp(ctx, length);
	} else {
		tg_count(result == TG_RESULT_MALFORMED ? TG_MALFORMED : TG_NOT_IP, length);
	}
	if (tg_packets)
		tg_sample_xdp(ctx, length);
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

static __always_inline int tg_leave_gate(struct __sk_buff *ctx)
{
	struct tg_cursor cursor = { .limit = ctx->len };

	if (ctx->data_end - ctx->data < TG_HEADERS && ctx->data_end - ctx->data < ctx->len)
		bpf_skb_pull_data(ctx, ctx->len < TG_HEADERS ? ctx->len : TG_HEADERS);
	cursor.data = (void *)(long)ctx->data;
	cursor.end = (void *)(long)ctx->data_end;
	if (tg_has_witness())
		tg_witness(ctx, &cursor, 0);
	if (tg_packets)
		tg_sample_tc(ctx);
	/* TCX_NEXT, and TC_ACT_UNSPEC with clsact: whoever else is there decides. */
	return -1;
}

/* What this host sends, and what it forwards: replies, and contacts of its own. Changes nothing. */
SEC("classifier")
int tidegate_egress(struct __sk_buff *ctx)
{
	return tg_leave_gate(ctx);
}

/*
 * Marks flows whose keys are the frame, so that nothing more is counted to them. In place: an update by user
 * space would undo what the program counted meanwhile. Not of XDP: to run such a one by itself takes the
 * kernel ten times as long.
 */
#define TG_ENDED_AT_ONCE 64

SEC("classifier")
int tidegate_end(struct __sk_buff *ctx)
{
	struct tg_flow_key *key = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	int left;

	for (left = TG_ENDED_AT_ONCE; left > 0 && (void *)(key + 1) <= end; left--, key++) {
		struct tg_flow *flow = bpf_map_lookup_elem(&tg_flows, key);

		if (flow)
			flow->ending = 1;
	}
	return 0;
}

/* Does nothing: what a packet costs at least. */
SEC("xdp")
int tidegate_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Answers the kernel's tick and CLOCK_MONOTONIC, in ns, at the beginning of the frame: user space relates them. */
SEC("xdp")
int tidegate_clock(struct xdp_md *ctx)
{
	struct tg_cursor cursor = tg_cursor_of(ctx);
	__u64 *out = cursor.data;

	if (cursor.data + 2 * sizeof(*out) > cursor.end)
		return XDP_ABORTED;
	out[0] = bpf_jiffies64();
	out[1] = bpf_ktime_get_ns();
	return XDP_PASS;
}

/*
 * The gate for packets of 65,536 sources in turn, 10.0.0.0/16, in place of the frame's own: what it costs when
 * nothing is in the processor's cache. The frame is IPv4 without tags.
 */
SEC("xdp")
int tidegate_many(struct xdp_md *ctx)
{
	struct tg_cursor cursor = tg_cursor_of(ctx);
	__u8 *ip = cursor.data + 14;
	__u16 *host = (__u16 *)(ip + 14);

	if ((void *)ip + 20 > cursor.end)
		return XDP_ABORTED;
	ip[12] = 10;
	ip[13] = 0;
	/* Goes through all of 16 bits (Hull and Dobell's conditions hold). */
	*host = *host * 25173 + 13849;
	return tg_pass_gate(ctx, ctx->data_end - ctx->data);
}

/* The gate at egress for the frame with a tag that the card is to add, as no frame of a test run has one. */
#define TG_TEST_TAG 0x6007

SEC("classifier")
int tidegate_tagged(struct __sk_buff *ctx)
{
	if (bpf_skb_vlan_push(ctx, bpf_htons(0x88a8), TG_TEST_TAG))
		return -2;
	return tg_leave_gate(ctx);
}

/* Puts what was read of a frame in front of it: for tests of parse.h alone. */
SEC("xdp")
int tidegate_parse(struct xdp_md *ctx)
{
	struct tg_cursor cursor = tg_cursor_of(ctx);
	struct tg_packet packet = {};

	cursor.limit = ctx->data_end - ctx->data;
	tg_parse(ctx, &cursor, &packet);
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
