/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reports single frames that passed, each one or one of so many, by a ring of their own. Whatever they carry: what
 * parse.h does not read, user space may. Nothing is asked of the frame before it is chosen.
 *
 * How far it is from one that is chosen to the next is drawn anew each time, so that nothing that comes at regular
 * intervals is always met or always missed (sFlow version 5, "Sampling of Packet Flows"; RFC 5475, 5.2).
 */
#ifndef TIDEGATE_SAMPLE_H
#define TIDEGATE_SAMPLE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "frame.h"

/* Not 0: frames are reported. */
volatile const __u32 tg_packets = 0;
/* One of so many, on average, up to 2^31. */
volatile const __u32 tg_sample = 1;

/* Bytes of a frame's addresses: a tag stands behind them, and takes so many. */
#define TG_ADDRESSES 12
#define TG_TAG 4

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} tg_frames SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tg_sampled);
} tg_sampled SEC(".maps");

/* Not 0: nothing more is reported. User space sets it before it takes what is left. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tg_sample_stop SEC(".maps");

/* The distance to the next frame that is chosen: from 1 to 2N - 1, each as likely, which is N on average. */
static __always_inline __u32 tg_distance(void)
{
	if (tg_sample <= 1)
		return 1;
	return 1 + (__u32)((__u64)bpf_get_prandom_u32() * (2 * tg_sample - 1) >> 32);
}

/*
 * Room in the ring for a frame that is chosen; 0 if this one is not, or the ring is full. Whoever gets it fills it
 * in and submits it, without a wake-up. Not inlined, so that BTF has its layout.
 */
static __noinline struct tg_frame *tg_frame_room(void)
{
	__u32 zero = 0;
	struct tg_sampled *sampled = bpf_map_lookup_elem(&tg_sampled, &zero);
	__u32 *stopped = bpf_map_lookup_elem(&tg_sample_stop, &zero);
	struct tg_frame *frame;
	__u64 now;

	if (!sampled || !stopped || *stopped)
		return 0;
	sampled->seen += 1;
	if (!sampled->left)
		sampled->left = tg_distance();
	sampled->left -= 1;
	if (sampled->left) {
		sampled->passed_over += 1;
		return 0;
	}
	sampled->chosen += 1;
	/* Before there is room, so that what waits for a processor is no later than what overtakes it. */
	now = bpf_ktime_get_ns();
	frame = bpf_ringbuf_reserve(&tg_frames, sizeof(*frame), 0);
	if (!frame) {
		sampled->lost += 1;
		return 0;
	}
	frame->time_ns = now;
	frame->reserved = 0;
	return frame;
}

/* Copies what there is up to `end`, TG_FRAME_BYTES at most; gives how much that was. */
static __always_inline __u32 tg_copy(__u8 *to, const __u8 *from, const void *end)
{
	__u32 at = 0;
	int left;

#pragma unroll
	for (left = TG_FRAME_BYTES / 8; left > 0; left--) {
		if ((const void *)(from + at + 8) > end)
			break;
		*(__u64 *)(to + at) = *(const __u64 *)(from + at);
		at += 8;
	}
	for (left = 7; left > 0; left--) {
		if (at >= TG_FRAME_BYTES || (const void *)(from + at + 1) > end)
			break;
		to[at] = from[at];
		at++;
	}
	return at;
}

/*
 * Reports a frame that came in and goes on. Global functions, as tg_witness_xdp: the verifier looks at each once,
 * and where nothing is reported not at all.
 */
__noinline int tg_sample_xdp(struct xdp_md *ctx, __u32 length)
{
	struct tg_frame *frame = tg_frame_room();

	if (!frame)
		return 0;
	frame->length = length;
	frame->outward = 0;
	/* Of a frame in several pieces, what the first has. */
	frame->captured =
		tg_copy(frame->bytes, (void *)(long)ctx->data, (void *)(long)ctx->data_end);
	bpf_ringbuf_submit(frame, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Copies a frame whose outermost tag is beside it, as it will be on the wire. */
static __always_inline __u32 tg_copy_tagged(struct __sk_buff *ctx, __u8 *to)
{
	__u32 rest = ctx->len;
	__u16 *tag = (__u16 *)(to + TG_ADDRESSES);

	if (rest <= TG_ADDRESSES || bpf_skb_load_bytes(ctx, 0, to, TG_ADDRESSES))
		return 0;
	tag[0] = ctx->vlan_proto;
	tag[1] = bpf_htons(ctx->vlan_tci);
	rest -= TG_ADDRESSES;
	if (rest > TG_FRAME_BYTES - TG_ADDRESSES - TG_TAG)
		rest = TG_FRAME_BYTES - TG_ADDRESSES - TG_TAG;
	if (bpf_skb_load_bytes(ctx, TG_ADDRESSES, to + TG_ADDRESSES + TG_TAG, rest))
		return TG_ADDRESSES + TG_TAG;
	return TG_ADDRESSES + TG_TAG + rest;
}

/* Reports a frame that goes out: as one, also where the card will make several of it. */
__noinline int tg_sample_tc(struct __sk_buff *ctx)
{
	struct tg_frame *frame = tg_frame_room();
	__u32 size = ctx->len;

	if (!frame)
		return 0;
	frame->length = size;
	frame->outward = 1;
	if (ctx->vlan_present) {
		frame->length += TG_TAG;
		frame->captured = tg_copy_tagged(ctx, frame->bytes);
	} else {
		if (size > TG_FRAME_BYTES)
			size = TG_FRAME_BYTES;
		if (!size || bpf_skb_load_bytes(ctx, 0, frame->bytes, size))
			size = 0;
		frame->captured = size;
	}
	bpf_ringbuf_submit(frame, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
