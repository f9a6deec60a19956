/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A frame's headers up to the transport's. Bounds are checked in one place (tg_at): against the frame
 * for the verifier and for truth, against what the IP header claims so that padding is no header.
 *
 * In two steps: tg_parse_head reads who sends what, which is all that is asked of most packets and stays
 * in registers; tg_describe the rest, into a struct.
 *
 * Sources: IEEE 802.1Q; RFC 791, 8200 (4: extension headers), 4302, 9293, 768, 9260, 792, 4443.
 * src/decode of the main crate is the reference it is tested against.
 */
#ifndef TIDEGATE_PARSE_H
#define TIDEGATE_PARSE_H

#include <linux/bpf.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
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

/* The first step's result. */
struct tg_head {
	__u8 *ip; /* the IP header */
	__u32 ip_bytes;
	__u8 family;
	__u8 transport;
	__u8 fragment;
	__u8 damaged;
	__u8 hidden; /* not 0: the transport header can't be found */
	__u8 tags;
	__u32 vlans; /* as tg_packet.vlans */
};

/* Whether there are `size` bytes at the cursor; `place` is where. */
static __always_inline int tg_at(const struct tg_cursor *cursor, __u32 size, __u8 **place)
{
	__u32 at = cursor->at;

	if (at > TG_MAX_OFFSET || at + size > cursor->limit)
		return 0;
	*place = cursor->data + at;
	return (void *)*place + size <= cursor->end;
}

static __always_inline __u16 tg_be16(const __u8 *bytes)
{
	return bpf_ntohs(*(const __be16 *)bytes);
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

/*
 * Whether its transport stands behind more extension headers than are looked through, or than there is room for.
 * Not so of signalling, which has none; and what later fragments carry stands in the first.
 */
static __always_inline int tg_hides(const struct tg_packet *packet)
{
	return packet->family == 6 && packet->fragment != TG_LATER && packet->transport < TG_MOBILITY &&
	       tg_is_extension(packet->transport);
}

/* The transport header; what can't be read stays opaque. */
static __always_inline void tg_parse_transport(const struct tg_cursor *cursor, struct tg_packet *packet)
{
	__u32 is_part = packet->fragment == TG_FIRST;
	__u8 *bytes;

	switch (packet->transport) {
	case TG_TCP:
		if (!tg_at(cursor, 4, &bytes)) {
			packet->damaged |= !is_part;
			return;
		}
		packet->source_port = tg_be16(bytes);
		packet->destination_port = tg_be16(bytes + 2);
		packet->layer4 = TG_PORTS;
		if (!tg_at(cursor, 14, &bytes)) {
			packet->damaged |= !is_part;
			return;
		}
		if (bytes[12] >> 4 < 5) {
			packet->damaged |= TG_CONTRADICTS;
			return;
		}
		packet->tcp_flags = tg_be16(bytes + 12) & 0x0fff;
		packet->layer4 = TG_READ;
		return;
	case TG_UDP:
	case TG_SCTP:
		if (!tg_at(cursor, 4, &bytes)) {
			packet->damaged |= !is_part;
			return;
		}
		packet->source_port = tg_be16(bytes);
		packet->destination_port = tg_be16(bytes + 2);
		packet->layer4 = TG_READ;
		return;
	case TG_ICMP:
	case TG_ICMPV6:
		if (!tg_at(cursor, 2, &bytes))
			return;
		packet->icmp_type = bytes[0];
		packet->icmp_code = bytes[1];
		packet->layer4 = TG_READ;
		return;
	}
}

static __always_inline int tg_head_v4(struct tg_cursor *cursor, struct tg_head *head)
{
	__u32 header, claimed, left;
	struct iphdr *ip;
	__be16 place;

	if (!tg_at(cursor, sizeof(*ip), (__u8 **)&ip) || *(__u8 *)ip >> 4 != 4)
		return TG_RESULT_MALFORMED;
	header = (*(__u8 *)ip & 0x0f) * 4;
	claimed = bpf_ntohs(ip->tot_len);
	left = cursor->limit - cursor->at;
	/* Offloading leaves no length: the frame tells. */
	if (claimed == 0)
		claimed = left;
	if (header < 20 || claimed < header)
		return TG_RESULT_MALFORMED;
	head->family = 4;
	head->ip = (__u8 *)ip;
	head->transport = ip->protocol;
	if (claimed > left) {
		head->damaged = TG_CUT;
		claimed = left;
	}
	head->ip_bytes = claimed;
	cursor->limit = cursor->at + claimed;
	cursor->at += header;
	place = ip->frag_off;
	if (place & bpf_htons(TG_FRAGMENT_OFFSET | TG_MORE_FRAGMENTS))
		head->fragment = place & bpf_htons(TG_FRAGMENT_OFFSET) ? TG_LATER : TG_FIRST;
	return TG_OK;
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
		if (!tg_at(&cursor, 8, &bytes))
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

static __always_inline int tg_head_v6(void *ctx, struct tg_cursor *cursor, struct tg_head *head,
				      int by_xdp)
{
	struct ipv6hdr *ip;
	__u32 claimed, left;
	__u64 walked;

	if (!tg_at(cursor, sizeof(*ip), (__u8 **)&ip) || *(__u8 *)ip >> 4 != 6)
		return TG_RESULT_MALFORMED;
	head->family = 6;
	head->ip = (__u8 *)ip;
	head->transport = ip->nexthdr;
	claimed = bpf_ntohs(ip->payload_len);
	left = cursor->limit - cursor->at;
	/* A jumbogram, or offloading left no length: the frame tells. */
	if (claimed == 0 && head->transport != TG_NO_NEXT)
		claimed = left;
	else
		claimed += 40;
	if (claimed > left) {
		head->damaged = TG_CUT;
		claimed = left;
	}
	head->ip_bytes = claimed;
	cursor->limit = cursor->at + claimed;
	cursor->at += 40;
	if (tg_is_extension(head->transport)) {
		walked = by_xdp ? tg_walk(ctx, cursor->at, cursor->limit, head->transport) :
				  tg_walk_tc(ctx, cursor->at, cursor->limit, head->transport);
		cursor->at = walked & 0xffff;
		head->transport = walked >> TG_WALKED_TRANSPORT;
		head->fragment = walked >> TG_WALKED_FRAGMENT & 3;
		head->damaged |= !!(walked & TG_WALKED_DAMAGED);
		head->hidden = !(walked & TG_WALKED_READABLE);
	}
	return TG_OK;
}

#define TG_IPV4 bpf_htons(0x0800)
#define TG_IPV6 bpf_htons(0x86dd)

static __always_inline int tg_is_tag(__be16 kind)
{
	return kind == bpf_htons(0x8100) || kind == bpf_htons(0x88a8) || kind == bpf_htons(0x9100);
}

/* Reads who sends what into `head`, which is zero; how far it came. `by_xdp` says what the context is. */
static __always_inline int tg_parse_head(void *ctx, struct tg_cursor *cursor, struct tg_head *head,
					 int by_xdp)
{
	__u8 *bytes;
	__be16 kind;
	int tag;

	if (!tg_at(cursor, 14, &bytes))
		return TG_RESULT_MALFORMED;
	kind = *(__be16 *)(bytes + 12);
	cursor->at = 14;
	/* First, because most packets are that. */
	if (kind == TG_IPV4)
		return tg_head_v4(cursor, head);
	for (tag = 0; tag < TG_MAX_TAGS && tg_is_tag(kind); tag++) {
		__u32 id;

		if (!tg_at(cursor, 4, &bytes))
			return TG_RESULT_MALFORMED;
		id = tg_be16(bytes) & TG_TAG_ID;
		/* The id 0 stands for a priority without a VLAN (IEEE 802.1Q-2022, 9.6). */
		if (id)
			head->vlans |= (id | TG_TAG_PRESENT) << (head->vlans ? 16 : 0);
		kind = *(__be16 *)(bytes + 2);
		cursor->at += 4;
		head->tags++;
	}
	if (kind == TG_IPV4)
		return tg_head_v4(cursor, head);
	if (kind == TG_IPV6)
		return tg_head_v6(ctx, cursor, head, by_xdp);
	return tg_is_tag(kind) ? TG_RESULT_TOO_DEEP : TG_RESULT_NOT_IP;
}

/* Reads the rest into `packet`, which is zero. */
static __always_inline void tg_describe(const struct tg_cursor *cursor, const struct tg_head *head,
					struct tg_packet *packet)
{
	packet->ip_bytes = head->ip_bytes;
	packet->family = head->family;
	packet->transport = head->transport;
	packet->fragment = head->fragment;
	packet->damaged = head->damaged;
	packet->tags = head->tags;
	packet->vlans = head->vlans;
	if (head->family == 4) {
		struct iphdr *ip = (void *)head->ip;

		packet->hop_limit = ip->ttl;
		packet->source[0] = ip->saddr;
		packet->destination[0] = ip->daddr;
	} else {
		struct ipv6hdr *ip = (void *)head->ip;

		packet->hop_limit = ip->hop_limit;
		__builtin_memcpy(packet->source, &ip->saddr, 16);
		__builtin_memcpy(packet->destination, &ip->daddr, 16);
	}
	if (cursor->at > cursor->limit)
		packet->damaged |= TG_CONTRADICTS;
	else if (!head->hidden && head->fragment != TG_LATER)
		tg_parse_transport(cursor, packet);
}

/* Both steps. */
static __always_inline void tg_parse(struct xdp_md *ctx, struct tg_cursor *cursor,
				     struct tg_packet *packet)
{
	struct tg_head head = {};

	packet->result = tg_parse_head(ctx, cursor, &head, 1);
	packet->tags = head.tags;
	packet->vlans = head.vlans;
	if (packet->result == TG_OK)
		tg_describe(cursor, &head, packet);
}

#endif
