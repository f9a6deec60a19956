/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counts packets by flow, for user space to read every second or so. A plain hash: an LRU would evict live
 * flows silently. A packet that has no place is counted as such, so that what flows have and what is
 * unattributed are all packets together: always, for an entry that user space takes out is marked first
 * (tg_flow.ending), and read when no processor can still be writing to it.
 */
#ifndef TIDEGATE_ACCOUNT_H
#define TIDEGATE_ACCOUNT_H

#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "maps.h"
#include "parse.h"
#include "reuse.h"
#include "table.h"
#include "verdict.h"

/* Not 0: flows are counted. */
volatile const __u32 tg_accounts = 0;
/* IP bytes of the longest packet that the interface sends in one piece. */
volatile const __u32 tg_longest = 0xffff;
/* For tests: what the first tries to begin a flow meet, each time, and how many of them. */
volatile const __u32 tg_insert_error = 0;
volatile const __u32 tg_insert_fails = 0;

/* What is known of a packet when it is counted. */
#define TG_SHOWS_PAYLOAD 1   /* of TCP */
#define TG_SHOWS_CHALLENGE 2 /* a SYN that changes nothing in its flow */
#define TG_SHOWS_ANSWER 4    /* a datagram whose content answers */

/* So many packets of an end have their exact time, what comes later that of the kernel's tick. */
#define TG_EXACT_TIMES 16

/* What a flow begins with is put together here: the stack is small. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tg_flow);
} tg_fresh_flow SEC(".maps");

static __always_inline long tg_insert_flow(const struct tg_flow_key *key, const struct tg_flow *flow,
					   __u32 try)
{
	if (tg_insert_error && try <= tg_insert_fails)
		return -(long)tg_insert_error;
	return bpf_map_update_elem(&tg_flows, key, flow, BPF_NOEXIST);
}

/* Begins a flow; 0 if there is no place for it. */
static __noinline struct tg_flow *tg_begin_flow(const struct tg_packet *packet,
						const struct tg_flow_key *key, __u32 from_low)
{
	__u32 zero = 0;
	struct tg_account *account = bpf_map_lookup_elem(&tg_account, &zero);
	struct tg_flow *fresh = bpf_map_lookup_elem(&tg_fresh_flow, &zero);
	long error;

	if (!account || !fresh)
		return 0;
	/* The rest of it is zero, always. */
	fresh->first_ns = bpf_ktime_get_ns();
	fresh->last_ns = fresh->first_ns;
	fresh->from_low = from_low;
	fresh->icmp_code = packet->icmp_code;
	error = tg_insert_flow(key, fresh, 1);
	if (error == -EBUSY) {
		account->busy += 1;
		error = tg_insert_flow(key, fresh, 2);
	}
	switch (error) {
	case 0:
		break;
	case -EEXIST:
		account->exists += 1;
		break;
	case -EBUSY:
		account->busy += 1;
		return 0;
	case -E2BIG:
		account->full += 1;
		return 0;
	case -ENOMEM:
		account->memory += 1;
		return 0;
	default:
		account->other += 1;
		return 0;
	}
	return bpf_map_lookup_elem(&tg_flows, key);
}

/* Takes note of what a packet of this end shows of its flow. */
static __always_inline void tg_note(struct tg_flow *flow, const struct tg_packet *packet, __u32 end,
				    __u64 numbers, __u32 shows)
{
	__u32 *own = &flow->seen[end & 1];
	__u32 *peer = &flow->seen[~end & 1];
	__u32 seen = 0;

	if (packet->transport == TG_TCP && packet->layer4 == TG_READ) {
		tg_place_numbers(flow, packet, end, numbers);
		seen = packet->tcp_flags;
		if (seen & TG_RST) {
			if (!(*own & *peer & TG_FIN))
				seen |= TG_SEEN_RESET;
		} else if (seen & TG_SYN) {
			seen |= seen & TG_ACK ? TG_SEEN_SYN_ACK : TG_SEEN_SYN;
		} else {
			seen |= TG_SEEN_MORE;
		}
		if (shows & TG_SHOWS_PAYLOAD)
			seen |= TG_SEEN_PAYLOAD;
	}
	if (shows & TG_SHOWS_ANSWER && !flow->packets[0] && !flow->packets[1])
		seen |= TG_SEEN_ANSWERS;
	if (packet->damaged)
		seen |= TG_SEEN_DAMAGED;
	if (packet->fragment == TG_LATER)
		seen |= TG_SEEN_LATER;
	/* Seldom: what waits for memory is the write. */
	if (seen & ~*own)
		__sync_fetch_and_or(own, seen);
}

/* Packets that no flow has, `ending` of them because it is being taken out. */
static __always_inline void tg_lose(__u32 packets, __u32 bytes, __u32 ending)
{
	__u32 zero = 0;
	struct tg_account *account = bpf_map_lookup_elem(&tg_account, &zero);

	if (!account)
		return;
	account->unattributed += packets;
	account->unattributed_bytes += bytes;
	account->ending += ending;
}

/* All packets that are to be counted; whether they are. */
static __always_inline int tg_take_account(const struct tg_packet *packet, __u32 packets, __u32 bytes)
{
	__u32 zero = 0;
	struct tg_account *account = bpf_map_lookup_elem(&tg_account, &zero);
	__u32 *stopped = bpf_map_lookup_elem(&tg_account_stop, &zero);

	if (!account || !stopped || *stopped)
		return 0;
	account->packets += packets;
	account->bytes += bytes;
	if (packet->damaged & TG_CUT)
		account->cut += packets;
	return 1;
}

/*
 * Counts `packets` of `bytes` in all to the flow of a packet. A global function too: whatever its callers know of
 * the packet, the verifier looks at it once.
 */
__noinline int tg_count_flow(const struct tg_packet *packet, __u32 packets, __u32 bytes, __u64 numbers,
			     __u32 shows)
{
	struct tg_flow_key key TG_ALIGNED = {};
	struct tg_daemon *daemon;
	struct tg_flow *flow;
	__u32 from_low, end;
	__u32 zero = 0;
	__u64 now;

	if (!packet || !tg_take_account(packet, packets, bytes))
		return 0;
	from_low = tg_flow_key_of(packet, &key);
	flow = bpf_map_lookup_elem(&tg_flows, &key);
	if (!flow)
		flow = tg_begin_flow(packet, &key, from_low);
	if (!flow || flow->ending) {
		tg_lose(packets, bytes, flow ? packets : 0);
		return 0;
	}
	end = !from_low;
	if (!(shows & TG_SHOWS_CHALLENGE))
		tg_note(flow, packet, end, numbers, shows);
	now = __sync_fetch_and_add(&flow->packets[end & 1], packets);
	__sync_fetch_and_add(&flow->bytes[end & 1], bytes);
	daemon = bpf_map_lookup_elem(&tg_daemon, &zero);
	if (!daemon)
		return 0;
	if (now < TG_EXACT_TIMES || packet->tcp_flags & (TG_FIN | TG_RST))
		now = bpf_ktime_get_ns();
	else
		now = tg_now(daemon);
	if (now > flow->last_ns)
		flow->last_ns = now;
	return 0;
}

/*
 * Whether a datagram answers, by protocols whose two ends may both use the server's port, as src/decode/role.rs has
 * it: 1 if it does, -1 if it asks, 0 if that is not known.
 */
static __always_inline int tg_role_at(const struct tg_cursor *cursor, __u16 port)
{
	__u8 *bytes;

	switch (port) {
	case 123:
		if (!tg_at(cursor, 8 + 48, &bytes))
			return 0;
		return (bytes[8] & 7) == 4 ? 1 : (bytes[8] & 7) == 3 ? -1 : 0;
	case 53:
	case 5353:
	case 5355:
	case 137:
		if (!tg_at(cursor, 8 + 12, &bytes))
			return 0;
		/* Queries, notifications and updates; others may be anything. */
		if (port != 137 && (bytes[10] & 0x78) && (bytes[10] & 0x78) != 4 << 3 && (bytes[10] & 0x78) != 5 << 3)
			return 0;
		return bytes[10] & 0x80 ? 1 : -1;
	default:
		return 0;
	}
}

/* What a datagram shows of its flow. */
static __always_inline __u32 tg_look_at_datagram(const struct tg_cursor *cursor, const struct tg_packet *packet)
{
	int role;

	if (packet->transport != TG_UDP || packet->layer4 != TG_READ)
		return 0;
	/* The receiver's port tells more than the sender's. */
	role = tg_role_at(cursor, packet->destination_port);
	if (!role)
		role = tg_role_at(cursor, packet->source_port);
	return role > 0 ? TG_SHOWS_ANSWER : 0;
}

/*
 * What a packet shows of its flow; of a TCP segment whose header was read also its numbers, and what it is to a
 * connection that is there.
 */
static __always_inline __u32 tg_look_at_packet(const struct tg_cursor *cursor, const struct tg_packet *packet,
						__u64 *numbers)
{
	__u32 shows = 0;
	__u8 *bytes;

	if (packet->transport != TG_TCP || packet->layer4 != TG_READ || !tg_at(cursor, 14, &bytes))
		return tg_look_at_datagram(cursor, packet);
	*numbers = (__u64)bpf_ntohl(*(__be32 *)(bytes + 4)) << 32 | bpf_ntohl(*(__be32 *)(bytes + 8));
	if (cursor->limit - cursor->at > (__u32)(bytes[12] >> 4) * 4)
		shows = TG_SHOWS_PAYLOAD;
	if (packet->tcp_flags & (TG_SYN | TG_RST) && tg_open(packet, *numbers) == TG_CHALLENGE)
		shows |= TG_SHOWS_CHALLENGE;
	return shows;
}

/* Counts a frame that came in. */
static __always_inline void tg_account_in(const struct tg_cursor *cursor, const struct tg_packet *packet)
{
	__u64 numbers = 0;
	__u32 zero = 0;
	__u32 shows;

	if (packet->ip_bytes > tg_longest) {
		struct tg_account *account = bpf_map_lookup_elem(&tg_account, &zero);

		if (account)
			account->oversized += 1;
	}
	shows = tg_look_at_packet(cursor, packet, &numbers);
	tg_count_flow(packet, 1, packet->ip_bytes, numbers, shows);
}

/* Counts a frame that goes out, as the packets that the card will make of it (qdisc_pkt_len_init of Linux). */
static __always_inline void tg_account_out(struct __sk_buff *ctx, const struct tg_cursor *cursor,
					   struct tg_packet *packet, __u32 link_bytes)
{
	__u64 numbers = 0;
	__u32 packets = 1;
	__u32 bytes = packet->ip_bytes;
	__u32 segments = ctx->gso_segs;
	__u32 zero = 0;
	__u32 shows;

	/* The outermost tag is beside the frame there. */
	if (ctx->vlan_present && (ctx->vlan_tci & TG_TAG_ID))
		packet->vlans = (packet->vlans << 16) | TG_TAG_PRESENT | (ctx->vlan_tci & TG_TAG_ID);
	if (segments > 1 && ctx->wire_len > segments * link_bytes) {
		struct tg_account *account = bpf_map_lookup_elem(&tg_account, &zero);

		packets = segments;
		bytes = ctx->wire_len - segments * link_bytes;
		if (account)
			account->segmented += 1;
	}
	shows = tg_look_at_packet(cursor, packet, &numbers);
	tg_count_flow(packet, packets, bytes, numbers, shows);
}

#endif
