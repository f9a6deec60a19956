/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A frame's headers up to the transport's. Bounds are checked in one place (tg_at): against the frame
 * for the verifier and for truth, against what the IP header claims so that padding is no header.
 *
 * Sources: IEEE 802.1Q; RFC 791, 8200 (4: extension headers), 4302, 9293, 768, 9260, 792, 4443.
 * src/decode of the main crate is the reference it is tested against.
 */
#ifndef TIDEGATE_PARSE_H
#define TIDEGATE_PARSE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "tidegate.h"

#define TG_MAX_TAGS 2
#define TG_MAX_EXTENSIONS 64
/* Headers are looked for no further than this into a frame. */
#define TG_MAX_OFFSET 0x2000

#define TG_MORE_FRAGMENTS 0x2000
#define TG_FRAGMENT_OFFSET 0x1fff

enum {
	TG_HOP_BY_HOP = 0,
	TG_ICMP = 1,
	TG_TCP = 6,
	TG_UDP = 17,
	TG_ROUTING = 43,
	TG_FRAGMENT_HEADER = 44,
	TG_AUTHENTICATION = 51,
	TG_ICMPV6 = 58,
	TG_NO_NEXT = 59,
	TG_DESTINATION_OPTIONS = 60,
	TG_VRRP = 112,
	TG_SCTP = 132,
	TG_MOBILITY = 135,
	TG_HOST_IDENTITY = 139,
	TG_SHIM6 = 140,
};

struct tg_cursor {
	void *data;
	void *end;
	__u32 at;    /* offset of the next header in the frame */
	__u32 limit; /* where the packet ends, by the frame and by what its header claims */
};

/* `size` bytes at the cursor, or none. */
static __always_inline void *tg_at(const struct tg_cursor *cursor, __u32 size)
{
	__u32 at = cursor->at;
	void *place;

	if (at > TG_MAX_OFFSET || at + size > cursor->limit)
		return 0;
	place = cursor->data + at;
	if (place + size > cursor->end)
		return 0;
	return place;
}

static __always_inline __u16 tg_be16(const __u8 *bytes)
{
	return (__u16)(bytes[0] << 8 | bytes[1]);
}

static __always_inline int tg_is_extension(__u32 next)
{
	switch (next) {
	case TG_HOP_BY_HOP:
	case TG_ROUTING:
	case TG_FRAGMENT_HEADER:
	case TG_AUTHENTICATION:
	case TG_DESTINATION_OPTIONS:
	case TG_MOBILITY:
	case TG_HOST_IDENTITY:
	case TG_SHIM6:
		return 1;
	default:
		return 0;
	}
}

/* The transport header; what can't be read stays opaque. */
static __always_inline void tg_parse_transport(const struct tg_cursor *cursor, struct tg_packet *packet)
{
	__u32 is_part = packet->fragment == TG_FIRST;
	__u8 *bytes;

	switch (packet->transport) {
	case TG_TCP:
		bytes = tg_at(cursor, 4);
		if (!bytes) {
			packet->damaged |= !is_part;
			return;
		}
		packet->source_port = tg_be16(bytes);
		packet->destination_port = tg_be16(bytes + 2);
		packet->layer4 = TG_PORTS;
		bytes = tg_at(cursor, 14);
		if (!bytes || bytes[12] >> 4 < 5) {
			packet->damaged |= !is_part || bytes;
			return;
		}
		packet->tcp_flags = tg_be16(bytes + 12) & 0x0fff;
		packet->layer4 = TG_READ;
		return;
	case TG_UDP:
	case TG_SCTP:
		bytes = tg_at(cursor, 4);
		if (!bytes) {
			packet->damaged |= !is_part;
			return;
		}
		packet->source_port = tg_be16(bytes);
		packet->destination_port = tg_be16(bytes + 2);
		packet->layer4 = TG_READ;
		return;
	case TG_ICMP:
	case TG_ICMPV6:
		bytes = tg_at(cursor, 2);
		if (!bytes)
			return;
		packet->icmp_type = bytes[0];
		packet->icmp_code = bytes[1];
		packet->layer4 = TG_READ;
		return;
	}
}

static __always_inline void tg_parse_v4(struct tg_cursor *cursor, struct tg_packet *packet)
{
	__u8 *ip = tg_at(cursor, 20);
	__u32 header, claimed, place;

	if (!ip || ip[0] >> 4 != 4) {
		packet->result = TG_RESULT_MALFORMED;
		return;
	}
	header = (ip[0] & 0x0f) * 4;
	claimed = tg_be16(ip + 2);
	/* Offloading leaves no length: the frame tells. */
	if (claimed == 0)
		claimed = cursor->limit - cursor->at;
	if (header < 20 || claimed < header) {
		packet->result = TG_RESULT_MALFORMED;
		return;
	}
	packet->family = 4;
	packet->transport = ip[9];
	packet->hop_limit = ip[8];
	__builtin_memcpy(packet->source, ip + 12, 4);
	__builtin_memcpy(packet->destination, ip + 16, 4);
	if (cursor->at + claimed > cursor->limit)
		packet->damaged = 1;
	else
		cursor->limit = cursor->at + claimed;
	packet->ip_bytes = cursor->limit - cursor->at;
	place = tg_be16(ip + 6);
	if (place & TG_FRAGMENT_OFFSET)
		packet->fragment = TG_LATER;
	else if (place & TG_MORE_FRAGMENTS)
		packet->fragment = TG_FIRST;
	cursor->at += header;
	if (cursor->at > cursor->limit) {
		packet->damaged = 1;
		return;
	}
	if (packet->fragment != TG_LATER)
		tg_parse_transport(cursor, packet);
}

/* What tg_walk returns beside the offset: the transport, the kind of fragment, what is wrong. */
#define TG_WALKED_TRANSPORT 16
#define TG_WALKED_FRAGMENT 24
#define TG_WALKED_DAMAGED (1ULL << 26)
#define TG_WALKED_READABLE (1ULL << 27)

/* Walks the extension headers that begin at the cursor with one of type `next`. */
static __always_inline __u64 tg_walk_in(struct tg_cursor cursor, __u32 next)
{
	__u32 limit = cursor.limit;
	__u64 fragment = TG_WHOLE;
	__u64 wrong = TG_WALKED_DAMAGED;
	int left;

	for (left = 0; left < TG_MAX_EXTENSIONS; left++) {
		__u8 *bytes;
		__u32 kind = next;
		__u32 size;

		if (!tg_is_extension(next)) {
			wrong = TG_WALKED_READABLE;
			break;
		}
		/* No extension header is shorter. */
		bytes = tg_at(&cursor, 8);
		if (!bytes)
			break;
		size = 8 + bytes[1] * 8;
		if (kind == TG_FRAGMENT_HEADER) {
			__u16 place = tg_be16(bytes + 2);

			size = 8;
			fragment = place & 1;
			if (place & ~7) {
				next = bytes[0];
				fragment = TG_LATER;
				wrong = 0;
				break;
			}
		} else if (kind == TG_AUTHENTICATION) {
			size = (bytes[1] + 2) * 4;
		} else if (kind >= TG_MOBILITY && bytes[0] == TG_NO_NEXT) {
			/* Signalling that carries nothing is the message itself. */
			wrong = 0;
			break;
		}
		next = bytes[0];
		cursor.at += size;
		if (cursor.at > limit || cursor.at > TG_MAX_OFFSET)
			break;
	}
	if (left == TG_MAX_EXTENSIONS)
		wrong = tg_is_extension(next) ? 0 : TG_WALKED_READABLE;
	return (cursor.at & 0xffff) | (__u64)(next & 0xff) << TG_WALKED_TRANSPORT |
	       fragment << TG_WALKED_FRAGMENT | wrong;
}

/*
 * The walk is a function of its own with global linkage, because the verifier looks at such a one once,
 * whatever its caller knows: inlined, 64 headers are more than its million of instructions. It takes the
 * type of its context from the signature, so XDP and tc have one each.
 */
__noinline __u64 tg_walk(struct xdp_md *ctx, __u32 at, __u32 limit, __u32 next)
{
	struct tg_cursor cursor = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.at = at,
		.limit = limit,
	};

	return tg_walk_in(cursor, next);
}

__noinline __u64 tg_walk_tc(struct __sk_buff *ctx, __u32 at, __u32 limit, __u32 next)
{
	struct tg_cursor cursor = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.at = at,
		.limit = limit,
	};

	return tg_walk_in(cursor, next);
}

static __always_inline void tg_parse_v6(void *ctx, struct tg_cursor *cursor,
					 struct tg_packet *packet, int by_xdp)
{
	__u8 *ip = tg_at(cursor, 40);
	__u32 claimed;
	__u64 walked;

	if (!ip || ip[0] >> 4 != 6) {
		packet->result = TG_RESULT_MALFORMED;
		return;
	}
	packet->family = 6;
	packet->transport = ip[6];
	packet->hop_limit = ip[7];
	__builtin_memcpy(packet->source, ip + 8, 16);
	__builtin_memcpy(packet->destination, ip + 24, 16);
	claimed = tg_be16(ip + 4);
	/* A jumbogram, or offloading left no length: the frame tells. */
	if (claimed == 0 && packet->transport != TG_NO_NEXT)
		claimed = cursor->limit - cursor->at;
	else
		claimed += 40;
	if (cursor->at + claimed > cursor->limit)
		packet->damaged = 1;
	else
		cursor->limit = cursor->at + claimed;
	packet->ip_bytes = cursor->limit - cursor->at;
	cursor->at += 40;
	if (tg_is_extension(packet->transport)) {
		walked = by_xdp ? tg_walk(ctx, cursor->at, cursor->limit, packet->transport) :
				  tg_walk_tc(ctx, cursor->at, cursor->limit, packet->transport);
		cursor->at = walked & 0xffff;
		packet->transport = walked >> TG_WALKED_TRANSPORT;
		packet->fragment = walked >> TG_WALKED_FRAGMENT & 3;
		packet->damaged |= !!(walked & TG_WALKED_DAMAGED);
		if (!(walked & TG_WALKED_READABLE))
			return;
	}
	tg_parse_transport(cursor, packet);
}

/* Reads the headers of a frame into `packet`, which is zero. `by_xdp` says what the context is. */
static __always_inline void tg_parse(void *ctx, struct tg_cursor *cursor, struct tg_packet *packet,
				     int by_xdp)
{
	__u8 *bytes = tg_at(cursor, 14);
	__u16 kind;
	int tag;

	if (!bytes) {
		packet->result = TG_RESULT_MALFORMED;
		return;
	}
	kind = tg_be16(bytes + 12);
	cursor->at = 14;
	for (tag = 0; tag < TG_MAX_TAGS; tag++) {
		if (kind != 0x8100 && kind != 0x88a8 && kind != 0x9100)
			break;
		bytes = tg_at(cursor, 4);
		if (!bytes) {
			packet->result = TG_RESULT_MALFORMED;
			return;
		}
		kind = tg_be16(bytes + 2);
		cursor->at += 4;
		packet->tags++;
	}
	switch (kind) {
	case 0x0800:
		tg_parse_v4(cursor, packet);
		return;
	case 0x86dd:
		tg_parse_v6(ctx, cursor, packet, by_xdp);
		return;
	case 0x8100:
	case 0x88a8:
	case 0x9100:
		packet->result = TG_RESULT_TOO_DEEP;
		return;
	default:
		packet->result = TG_RESULT_NOT_IP;
	}
}

#endif
