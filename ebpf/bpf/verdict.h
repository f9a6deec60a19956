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
 * CLOCK_MONOTONIC as of the last tick of the kernel, 1 to 10 ms late: deadlines are of seconds. The kernel
 * counts ticks by that clock, so the two don't drift; a load and a multiplication in place of a helper.
 */
static __always_inline __u64 tg_now(const struct tg_daemon *daemon)
{
	return daemon->clock_ns + bpf_jiffies64() * tg_tick_ns;
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
	/* Whoever hides a port has a reason. */
	if (tg_hides(packet))
		return 1;
	if (block->by == TG_BY_GUARD && packet->transport != TG_TCP)
		return 0;
	if (block->port == 0)
		return 1;
	if (packet->transport != TG_TCP && packet->transport != TG_UDP && packet->transport != TG_SCTP)
		return 0;
	if (packet->layer4 == TG_OPAQUE)
		return packet->fragment != TG_LATER;
	return packet->destination_port == block->port;
}

/* Whether the packet is above the rate; if not, it is drawn from the bucket (RFC 2697's idea, by time). */
static __always_inline int tg_exceeds(struct tg_block *block, __u64 now)
{
	__u64 interval = block->scope == TG_NEW ? tg_new_interval_ns : tg_all_interval_ns;
	__u64 burst = block->scope == TG_NEW ? tg_new_burst_ns : tg_all_burst_ns;
	__u64 empty = block->bucket_ns;

	if (block->by == TG_BY_GUARD) {
		interval = tg_syn_interval_ns;
		burst = tg_syn_burst_ns;
	}
	if (empty < now)
		empty = now;
	/* What the guard limits has drawn all of it before. */
	if (empty > now + burst)
		block->bucket_ns = empty = now + burst;
	if (empty + interval > now + burst)
		return 1;
	/* Two processors may draw the same: a limit that is off by a packet is one all the same. */
	block->bucket_ns = empty + interval;
	return 0;
}

/*
 * The source as a key. Not by a struct of bytes: what is written by the byte and read by the word waits in
 * the processor.
 */
static __always_inline __u32 tg_source4(const struct tg_head *head)
{
	return ((const struct iphdr *)head->ip)->saddr;
}

static __always_inline void tg_source6(const struct tg_head *head, void *to)
{
	__builtin_memcpy(to, &((const struct ipv6hdr *)head->ip)->saddr, 16);
}

/* How many verdicts on networks within each other are looked at. */
#define TG_NESTED 8

/*
 * Clang joins two calls that differ by their map alone into one, and the kernel then calls the look-up
 * through a pointer: 20 ns in place of 4. So behind each stands something that is nowhere else; an instruction, for
 * of two lines of the source at one the kernel refuses the program.
 */
#define TG_ALONE(pointer, name) asm volatile("%0 = %0 # " name : "+r"(pointer)::"memory")

static __always_inline int tg_is_allowed(const struct tg_head *head)
{
	void *found;

	if (head->family == 4) {
		struct tg_net4_key key = { .prefix = 32 };

		if (!tg_word(TG_HAS_ALLOW4))
			return 0;
		*(__u32 *)key.address = tg_source4(head);
		found = bpf_map_lookup_elem(&tg_allow4, &key);
		TG_ALONE(found, "allow4");
	} else {
		struct tg_net6_key key = { .prefix = 128 };

		if (!tg_word(TG_HAS_ALLOW6))
			return 0;
		tg_source6(head, key.address);
		found = bpf_map_lookup_elem(&tg_allow6, &key);
		TG_ALONE(found, "allow6");
	}
	return found != 0;
}

/*
 * Counts a packet, in one word: two cost twice as much. Whoever finds one half of it half full carries it
 * over; meanwhile there is room for as much again from other processors.
 */
static __always_inline void tg_hit(struct tg_block *block, __u32 bytes)
{
	__u64 one = (1ULL << TG_HIT_SHIFT) + bytes;

	if (__builtin_expect(__sync_fetch_and_add(&block->hits, one) & TG_HIT_FULL, 0)) {
		__u64 hits = __sync_lock_test_and_set(&block->hits, 0);

		__sync_fetch_and_add(&block->packets, hits >> TG_HIT_SHIFT);
		__sync_fetch_and_add(&block->bytes, hits & ((1ULL << TG_HIT_SHIFT) - 1));
	}
}

/* Whether it is a TCP SYN that the verdict is about: most of what is dropped, and nothing more is asked of it. */
static __always_inline int tg_is_syn(const struct tg_cursor *cursor, const struct tg_head *head,
				     const struct tg_block *block)
{
	__u8 *bytes;

	if (head->transport != TG_TCP || head->fragment != TG_WHOLE || head->hidden)
		return 0;
	if (!tg_at(cursor, 14, &bytes) || bytes[12] >> 4 < 5)
		return 0;
	if ((bytes[13] & (TG_SYN | TG_ACK)) != TG_SYN)
		return 0;
	return block->port == 0 || block->port == tg_be16(bytes + 2);
}

/* What speaks against dropping any other packet; TG_PASS if nothing does. */
static __noinline __u32 tg_examine(struct xdp_md *ctx, const struct tg_packet *packet,
				   const struct tg_block *block)
{
	/* For the verifier; and a verdict that is not there drops nothing. */
	if (!block)
		return TG_OUT_OF_SCOPE;
	if (!tg_concerns(block, packet))
		return TG_OUT_OF_SCOPE;
	if (tg_is_exempt(packet))
		return TG_EXEMPT;
	/* A SYN begins a session of the other side; so it needs no look-up. */
	if (!(packet->transport == TG_TCP && tg_is_new(packet)) && tg_is_own_session(ctx, packet))
		return TG_OWN_SESSION;
	return TG_PASS;
}

/* What becomes of a packet by a verdict on its source; `drop` is the outcome if it is dropped. */
static __always_inline __u32 tg_apply(struct xdp_md *ctx, const struct tg_cursor *cursor,
				      const struct tg_head *head, struct tg_block *block, __u32 drop)
{
	__u32 zero = 0;
	struct tg_daemon *daemon = bpf_map_lookup_elem(&tg_daemon, &zero);
	__u64 now;

	if (!daemon)
		return TG_PASS;
	now = tg_now(daemon);
	if (block->deadline_ns && now >= block->deadline_ns)
		return TG_PASS;
	if (!tg_is_syn(cursor, head, block)) {
		struct tg_packet packet = {};
		__u32 against;

		tg_describe(cursor, head, &packet);
		against = tg_examine(ctx, &packet, block);
		if (against != TG_PASS)
			return against;
	}
	/* Once for each address and each state of the list: user space counts that after it has written. */
	if (drop != TG_DROP_ADDRESS || block->unlisted != daemon->allow_generation) {
		__u32 generation = daemon->allow_generation;

		if (tg_is_allowed(head))
			return TG_ALLOWED;
		if (drop == TG_DROP_ADDRESS)
			block->unlisted = generation;
	}
	if (tg_fail_open_ns && now > daemon->heartbeat_ns + tg_fail_open_ns)
		return TG_FAIL_OPEN;
	if (block->action == TG_RATE_LIMIT) {
		if (!tg_exceeds(block, now))
			return TG_WITHIN_RATE;
		drop = TG_DROP_RATE;
	}
	if (block->by == TG_BY_GUARD)
		drop = TG_DROP_GUARD;
	tg_hit(block, head->ip_bytes);
	return block->enforce && tg_enforce ? drop : TG_WOULD_DROP;
}

static __always_inline int tg_is_drop(__u32 outcome)
{
	return outcome == TG_DROP_ADDRESS || outcome == TG_DROP_NETWORK || outcome == TG_DROP_RATE ||
	       outcome == TG_DROP_GUARD;
}

/* Without a word that says whether there is any: a look-up in an empty hash costs little more than that. */
static __always_inline struct tg_block *tg_on_address(const struct tg_head *head)
{
	struct tg_block *block;

	if (head->family == 4) {
		__u32 key = tg_source4(head);

		block = bpf_map_lookup_elem(&tg_block4, &key);
		TG_ALONE(block, "block4");
	} else {
		__u64 key[2];

		tg_source6(head, key);
		block = bpf_map_lookup_elem(&tg_block6, key);
		TG_ALONE(block, "block6");
	}
	return block;
}

/* Longer than any network: for the verdict on the longest one. */
#define TG_ANY_LENGTH 129

/* The verdict on the longest network that its address is in and that is shorter than so many bits, at least 1. */
static __always_inline struct tg_block *tg_on_network(const struct tg_head *head, __u32 bits)
{
	struct tg_block *block;

	if (head->family == 4) {
		struct tg_net4_key key = { .prefix = bits <= 32 ? bits - 1 : 32 };

		if (!tg_word(TG_HAS_NET4))
			return 0;
		*(__u32 *)key.address = tg_source4(head);
		block = bpf_map_lookup_elem(&tg_net4, &key);
		TG_ALONE(block, "net4");
	} else {
		struct tg_net6_key key = { .prefix = bits - 1 };

		if (!tg_word(TG_HAS_NET6))
			return 0;
		tg_source6(head, key.address);
		block = bpf_map_lookup_elem(&tg_net6, &key);
		TG_ALONE(block, "net6");
	}
	return block;
}

/* Whether the verdict said nothing: there is none in force, or it is about other packets. */
static __always_inline int tg_is_silent(__u32 outcome)
{
	return outcome == TG_PASS || outcome == TG_OUT_OF_SCOPE;
}

/* Whether the verdict lets it pass though it is about it: a wider one may still drop it. */
static __always_inline int tg_is_mild(__u32 outcome)
{
	return outcome == TG_WITHIN_RATE || outcome == TG_WOULD_DROP;
}

/*
 * What becomes of a packet by the verdict on the longest of the networks shorter than so many bits, and above that
 * outcome (from TG_BITS on) that network's length; 0 if there is none.
 */
#define TG_BITS 8

__noinline __u32 tg_judge_network(struct xdp_md *ctx, __u32 length, __u32 bits)
{
	struct tg_cursor cursor = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.limit = length,
	};
	struct tg_head head = {};
	struct tg_block *block;

	if (bits == 0 || bits > TG_ANY_LENGTH || tg_parse_head(ctx, &cursor, &head, 1) != TG_OK)
		return 0;
	block = tg_on_network(&head, bits);
	if (!block)
		return 0;
	return tg_apply(ctx, &cursor, &head, block, TG_DROP_NETWORK) | block->prefix << TG_BITS;
}

/*
 * What becomes of a packet that a verdict let pass or was not about, by those on wider networks: the first that
 * drops it. Functions with global linkage, as tg_walk: the verifier looks at each once, and who has no verdicts
 * within each other never comes here.
 */
__noinline __u32 tg_judge_wider(struct xdp_md *ctx, __u32 length, __u32 outcome, __u32 bits)
{
	int nested;

	if (!tg_word(TG_HAS_NET4) && !tg_word(TG_HAS_NET6))
		return outcome;
	for (nested = 0; nested < TG_NESTED; nested++) {
		__u32 judged = tg_judge_network(ctx, length, bits);
		__u32 further = judged & ((1 << TG_BITS) - 1);

		if (!tg_is_silent(further) && !tg_is_mild(further))
			return further;
		if (tg_is_silent(outcome) && further != TG_PASS)
			outcome = further;
		bits = judged >> TG_BITS;
		if (bits == 0)
			break;
	}
	return outcome;
}

/* What becomes of a packet whose IP header was read. */
static __always_inline __u32 tg_judge(struct xdp_md *ctx, const struct tg_cursor *cursor,
				      const struct tg_head *head)
{
	struct tg_block *block = tg_on_address(head);
	__u32 outcome;

	if (block) {
		outcome = tg_apply(ctx, cursor, head, block, TG_DROP_ADDRESS);
		if (tg_is_silent(outcome) || tg_is_mild(outcome))
			return tg_judge_wider(ctx, cursor->limit, outcome, TG_ANY_LENGTH);
		return outcome;
	}
	block = tg_on_network(head, TG_ANY_LENGTH);
	if (!block)
		return TG_PASS;
	outcome = tg_apply(ctx, cursor, head, block, TG_DROP_NETWORK);
	if (tg_is_silent(outcome) || tg_is_mild(outcome))
		return tg_judge_wider(ctx, cursor->limit, outcome, block->prefix);
	return outcome;
}

#endif
