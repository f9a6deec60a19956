/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What becomes of a packet: the verdict on its address, else on its network, as far as it is about this
 * packet; then whatever speaks against dropping it. All of that is asked only for sources with a
 * verdict, so others pay for no more than the look-up.
 */
#ifndef TIDEGATE_VERDICT_H
#define TIDEGATE_VERDICT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "maps.h"
#include "parse.h"
#include "session.h"

#define TG_FIN 0x01
#define TG_SYN 0x02
#define TG_RST 0x04
#define TG_ACK 0x10

/*
 * CLOCK_MONOTONIC as of the last tick: 1 to 10 ms late, and half the price. Deadlines are of seconds.
 */
static __always_inline __u64 tg_now(void)
{
	return bpf_ktime_get_coarse_ns();
}

/* Neighbour discovery, path MTU, DHCP and VRRP: without them a host loses its network, not an attacker. */
static __always_inline int tg_is_exempt(const struct tg_packet *packet)
{
	if (packet->transport == TG_VRRP)
		return 1;
	if (packet->layer4 != TG_READ)
		return 0;
	if (packet->transport == TG_ICMPV6 && packet->family == 6) {
		/* Packet too big; router and neighbour solicitation and advertisement, on the link only. */
		return packet->icmp_type == 2 ||
		       (packet->icmp_type >= 133 && packet->icmp_type <= 136 && packet->hop_limit == 255);
	}
	if (packet->transport == TG_ICMP && packet->family == 4)
		return packet->icmp_type == 3 && packet->icmp_code == 4;
	if (packet->transport == TG_UDP && packet->family == 4)
		return (packet->source_port == 67 && packet->destination_port == 68) ||
		       (packet->source_port == 68 && packet->destination_port == 67);
	if (packet->transport == TG_UDP)
		return (packet->source_port == 547 && packet->destination_port == 546) ||
		       (packet->source_port == 546 && packet->destination_port == 547);
	return 0;
}

/*
 * Whether it begins something: a SYN, a datagram, a transport header that can't be read (who hides it
 * has a reason). Later fragments don't: without the first one they come to nothing.
 */
static __always_inline int tg_is_new(const struct tg_packet *packet)
{
	switch (packet->transport) {
	case TG_TCP:
		if (packet->layer4 == TG_READ)
			return (packet->tcp_flags & (TG_SYN | TG_ACK)) == TG_SYN;
		return packet->fragment != TG_LATER;
	case TG_UDP:
	case TG_SCTP:
		return packet->fragment != TG_LATER;
	case TG_ICMP:
	case TG_ICMPV6:
		return 0;
	default:
		return tg_is_extension(packet->transport) && packet->fragment != TG_LATER;
	}
}

/* Whether the verdict is about this packet. */
static __always_inline int tg_concerns(const struct tg_block *block, const struct tg_packet *packet)
{
	if (block->scope == TG_NEW && !tg_is_new(packet))
		return 0;
	if (block->port == 0)
		return 1;
	if (packet->transport != TG_TCP && packet->transport != TG_UDP && packet->transport != TG_SCTP)
		return 0;
	return packet->layer4 != TG_OPAQUE && packet->destination_port == block->port;
}

/* Whether the packet is above the rate; if not, it is drawn from the bucket (RFC 2697's idea, by time). */
static __always_inline int tg_exceeds(struct tg_block *block, __u64 now)
{
	__u64 interval = block->scope == TG_NEW ? tg_new_interval_ns : tg_all_interval_ns;
	__u64 burst = block->scope == TG_NEW ? tg_new_burst_ns : tg_all_burst_ns;
	__u64 empty = block->bucket_ns;

	if (empty < now)
		empty = now;
	if (empty + interval > now + burst)
		return 1;
	/* Two processors may draw the same: a limit that is off by a packet is one all the same. */
	block->bucket_ns = empty + interval;
	return 0;
}

static __always_inline int tg_is_allowed(const struct tg_packet *packet)
{
	if (packet->family == 4) {
		struct tg_net4_key key = { .prefix = 32 };

		if (!tg_word(TG_HAS_ALLOW4))
			return 0;
		__builtin_memcpy(key.address, packet->source, 4);
		return bpf_map_lookup_elem(&tg_allow4, &key) != 0;
	} else {
		struct tg_net6_key key = { .prefix = 128 };

		if (!tg_word(TG_HAS_ALLOW6))
			return 0;
		__builtin_memcpy(key.address, packet->source, 16);
		return bpf_map_lookup_elem(&tg_allow6, &key) != 0;
	}
}

/* What becomes of a packet by a verdict on its source; `drop` is the outcome if it is dropped. */
static __always_inline __u32 tg_apply(struct xdp_md *ctx, struct tg_block *block,
				      const struct tg_packet *packet, __u32 drop)
{
	__u64 now = tg_now();

	if (block->deadline_ns && now >= block->deadline_ns)
		return TG_PASS;
	if (!tg_concerns(block, packet))
		return TG_OUT_OF_SCOPE;
	if (tg_is_exempt(packet))
		return TG_EXEMPT;
	if (tg_is_allowed(packet))
		return TG_ALLOWED;
	if (tg_fail_open_ns && now > tg_word(TG_HEARTBEAT) + tg_fail_open_ns)
		return TG_FAIL_OPEN;
	/* A SYN begins a session of the other side; so it needs no look-up. */
	if (!(packet->transport == TG_TCP && tg_is_new(packet)) && tg_is_own_session(ctx, packet))
		return TG_OWN_SESSION;
	if (block->action == TG_RATE_LIMIT) {
		if (!tg_exceeds(block, now))
			return TG_WITHIN_RATE;
		drop = TG_DROP_RATE;
	}
	__sync_fetch_and_add(&block->packets, 1);
	__sync_fetch_and_add(&block->bytes, packet->ip_bytes);
	return block->enforce && tg_enforce ? drop : TG_WOULD_DROP;
}

static __always_inline int tg_is_drop(__u32 outcome)
{
	return outcome == TG_DROP_ADDRESS || outcome == TG_DROP_NETWORK || outcome == TG_DROP_RATE;
}

static __always_inline struct tg_block *tg_on_address(const struct tg_packet *packet)
{
	if (packet->family == 4) {
		__u32 key;

		if (!tg_word(TG_HAS_BLOCK4))
			return 0;
		__builtin_memcpy(&key, packet->source, 4);
		return bpf_map_lookup_elem(&tg_block4, &key);
	}
	return tg_word(TG_HAS_BLOCK6) ? bpf_map_lookup_elem(&tg_block6, packet->source) : 0;
}

static __always_inline struct tg_block *tg_on_network(const struct tg_packet *packet)
{
	if (packet->family == 4) {
		struct tg_net4_key key = { .prefix = 32 };

		if (!tg_word(TG_HAS_NET4))
			return 0;
		__builtin_memcpy(key.address, packet->source, 4);
		return bpf_map_lookup_elem(&tg_net4, &key);
	} else {
		struct tg_net6_key key = { .prefix = 128 };

		if (!tg_word(TG_HAS_NET6))
			return 0;
		__builtin_memcpy(key.address, packet->source, 16);
		return bpf_map_lookup_elem(&tg_net6, &key);
	}
}

/* What becomes of a packet whose headers were read. */
static __always_inline __u32 tg_judge(struct xdp_md *ctx, const struct tg_packet *packet)
{
	struct tg_block *block = tg_on_address(packet);
	__u32 outcome = TG_PASS;

	if (block)
		outcome = tg_apply(ctx, block, packet, TG_DROP_ADDRESS);
	if (outcome != TG_PASS && outcome != TG_OUT_OF_SCOPE)
		return outcome;
	block = tg_on_network(packet);
	if (block) {
		__u32 further = tg_apply(ctx, block, packet, TG_DROP_NETWORK);

		if (further != TG_PASS)
			outcome = further;
	}
	return outcome;
}

#endif
