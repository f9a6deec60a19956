/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections that use the addresses and ports of a former one while its entry is still there: the former one goes
 * to user space by a ring, with all that was counted to it, and its entry begins anew. What finds no room there is
 * counted on to the former one, and that is counted: no packet is lost by it.
 *
 * Which SYN begins another connection: src/flow/tcp/machine.rs (`opening`), as far as control bits tell.
 */
#ifndef TIDEGATE_REUSE_H
#define TIDEGATE_REUSE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "table.h"
#include "verdict.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} tg_past SEC(".maps");

/* The numbers of a TCP segment in one word, as few arguments are passed: sequence, and what it acknowledges. */
#define TG_SEQUENCE(numbers) ((__u32)((numbers) >> 32))
#define TG_ACKNOWLEDGED(numbers) ((__u32)(numbers))

/* What a segment with SYN or RST is to the connection that its entry is of. */
enum tg_reuse {
	TG_OWN,
	TG_ANOTHER,   /* it begins another one */
	TG_CHALLENGE, /* it does so if it is answered, and till then it changes nothing */
};

/* Whether an end has said nothing that counts: a bare ACK of a SYN that waits for its answer does not. */
static __always_inline int tg_is_inactive(__u32 seen, __u32 other)
{
	if (seen & (TG_FIN | TG_RST | TG_SEEN_SYN | TG_SEEN_SYN_ACK | TG_SEEN_PAYLOAD))
		return 0;
	return !(seen & TG_SEEN_MORE) || (other & (TG_SEEN_SYN | TG_SEEN_MORE)) == TG_SEEN_SYN;
}

/*
 * What a SYN, with or without ACK, is to a connection, by what its sender and the other end have sent. A global
 * function, which the verifier looks at once (as tg_walk): it has many ways.
 */
__noinline int tg_reuse_by(__u32 flags, __u32 own, __u32 peer, __u32 is_own)
{
	int was_reset = !!((own | peer) & TG_SEEN_RESET);
	int is_one_way = tg_is_inactive(peer, own);
	int is_over = was_reset || (own & TG_FIN && (peer & TG_FIN || is_one_way)) ||
		      (peer & TG_FIN && tg_is_inactive(own, peer));

	if (flags & TG_ACK)
		return !is_own && (is_over || is_one_way) ? TG_ANOTHER : TG_OWN;
	/* The other side has forgotten the connection; even the same number begins anew. */
	if (was_reset)
		return TG_ANOTHER;
	if (is_own)
		return TG_OWN;
	return is_over || is_one_way ? TG_ANOTHER : TG_CHALLENGE;
}

/*
 * Gives the flow to user space and begins its entry anew, at `now` and with nothing counted; 0 if it can't be.
 * Other processors may be counting to it: each count goes to the one flow or to the other. Who moves first_ns is
 * the one who does it. User space reads first_ns before the rest, and takes what has a new last_ns for alive.
 */
static __always_inline struct tg_past *tg_begin_anew(const struct tg_flow_key *key, struct tg_flow *flow,
						     __u64 now)
{
	struct tg_past *past = bpf_ringbuf_reserve(&tg_past, sizeof(*past), 0);
	__u64 first = flow->first_ns;

	if (!past) {
		__u32 zero = 0;
		struct tg_account *account = bpf_map_lookup_elem(&tg_account, &zero);

		if (account)
			account->merged += 1;
		return 0;
	}
	past->key = *key;
	past->reserved = 0;
	past->flow.first_ns = first;
	past->flow.last_ns = flow->last_ns;
	past->flow.from_low = flow->from_low;
	flow->last_ns = bpf_ktime_get_ns();
	if (__sync_val_compare_and_swap(&flow->first_ns, first, now) != first) {
		bpf_ringbuf_discard(past, BPF_RB_NO_WAKEUP);
		return 0;
	}
	past->flow.packets[0] = __sync_lock_test_and_set(&flow->packets[0], 0);
	past->flow.packets[1] = __sync_lock_test_and_set(&flow->packets[1], 0);
	past->flow.bytes[0] = __sync_lock_test_and_set(&flow->bytes[0], 0);
	past->flow.bytes[1] = __sync_lock_test_and_set(&flow->bytes[1], 0);
	past->flow.seen[0] = __sync_lock_test_and_set(&flow->seen[0], 0);
	past->flow.seen[1] = __sync_lock_test_and_set(&flow->seen[1], 0);
	past->flow.start[0] = flow->start[0];
	past->flow.start[1] = flow->start[1];
	past->flow.asked_ns = 0;
	past->flow.asked = 0;
	past->flow.asked_bytes = 0;
	past->flow.asked_by = 0;
	past->flow.icmp_code = 0;
	past->flow.ending = 0;
	__builtin_memset(past->flow.reserved, 0, sizeof(past->flow.reserved));
	flow->asked_by = 0;
	return past;
}

/*
 * A SYN that was counted to the former connection was answered: it was the first packet of this one, which ended the
 * other. Not inlined, so that the object's BTF has the type.
 */
static __noinline void tg_take_over(struct tg_past *past, struct tg_flow *flow, __u32 by, __u32 number,
				    __u32 bytes)
{
	by &= 1;
	if (past->flow.last_ns > flow->first_ns)
		past->flow.last_ns = flow->first_ns;
	if (past->flow.packets[by]) {
		past->flow.packets[by] -= 1;
		past->flow.bytes[by] -= bytes;
	}
	flow->from_low = !by;
	flow->start[by] = number;
	__sync_fetch_and_add(&flow->packets[by], 1);
	__sync_fetch_and_add(&flow->bytes[by], bytes);
	__sync_fetch_and_or(&flow->seen[by], TG_SYN | TG_SEEN_SYN | TG_SEEN_PLACED);
}

/* Takes note of where the streams of a segment begin, before its control bits are noted. */
static __always_inline void tg_place_numbers(struct tg_flow *flow, const struct tg_packet *packet, __u32 end,
					     __u64 numbers)
{
	__u32 said = TG_FIN | TG_SYN | TG_RST | TG_SEEN_MORE;
	__u32 own = flow->seen[end & 1];
	__u32 peer = flow->seen[~end & 1];

	if (packet->tcp_flags & TG_SYN || !(own & said)) {
		flow->start[end & 1] = TG_SEQUENCE(numbers) - !(packet->tcp_flags & TG_SYN);
		if (!(own & TG_SEEN_PLACED))
			__sync_fetch_and_or(&flow->seen[end & 1], TG_SEEN_PLACED);
	}
	/* Of an end that was not seen, what it has sent is as good as its beginning. */
	if (packet->tcp_flags & TG_ACK && tg_is_inactive(peer, own)) {
		flow->start[~end & 1] = TG_ACKNOWLEDGED(numbers) - 1;
		if (!(peer & TG_SEEN_PLACED))
			__sync_fetch_and_or(&flow->seen[~end & 1], TG_SEEN_PLACED);
	}
}

/*
 * What a segment with SYN or RST is to the flow of its key; a flow that is over makes room. A global function, called
 * before the packet is counted rather than from there: the stack is small.
 */
__noinline int tg_open(const struct tg_packet *packet, __u64 numbers)
{
	struct tg_flow_key key TG_ALIGNED = {};
	struct tg_past *past = 0;
	struct tg_flow *flow;
	__u32 end, own, peer;
	__u32 zero = 0;
	__u32 *stopped = bpf_map_lookup_elem(&tg_account_stop, &zero);
	int reuse;

	if (!packet || !stopped || *stopped)
		return TG_OWN;
	end = !tg_flow_key_of(packet, &key);
	flow = bpf_map_lookup_elem(&tg_flows, &key);
	if (!flow || flow->ending)
		return TG_OWN;
	if (packet->tcp_flags & TG_ACK && flow->asked_by == 2 - end &&
	    TG_ACKNOWLEDGED(numbers) == flow->asked + 1) {
		__u32 number = flow->asked;
		__u32 bytes = flow->asked_bytes;

		past = tg_begin_anew(&key, flow, flow->asked_ns);
		if (past) {
			tg_take_over(past, flow, ~end, number, bytes);
			bpf_ringbuf_submit(past, BPF_RB_NO_WAKEUP);
		}
		return TG_OWN;
	}
	if (!(packet->tcp_flags & TG_SYN))
		return TG_OWN;
	own = flow->seen[end & 1];
	peer = flow->seen[~end & 1];
	reuse = tg_reuse_by(packet->tcp_flags, own, peer,
			    !(own & TG_SEEN_PLACED) || TG_SEQUENCE(numbers) == flow->start[end & 1]);
	if (reuse == TG_ANOTHER) {
		past = tg_begin_anew(&key, flow, bpf_ktime_get_ns());
		if (past) {
			flow->from_low = !end;
			bpf_ringbuf_submit(past, BPF_RB_NO_WAKEUP);
		}
	} else if (reuse == TG_CHALLENGE) {
		flow->asked_ns = bpf_ktime_get_ns();
		flow->asked = TG_SEQUENCE(numbers);
		flow->asked_bytes = packet->ip_bytes;
		flow->asked_by = end + 1;
		__sync_fetch_and_or(&flow->seen[end & 1], packet->tcp_flags);
	}
	return reuse;
}

#endif
