/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counts what is dropped by who sent it where to, for user space to take out once a minute: a verdict has the sums
 * alone. src/denied.rs has the same layout, and a test compares the two by the object's BTF.
 *
 * An entry belongs to one of two turns. User space begins the other one, waits until no processor can still be
 * writing to the first (as for flows, account.h), and takes its entries out: so none is marked, and no packet is
 * lost. Whoever is blocked chooses addresses and ports; so how many entries a source and a processor may begin is
 * limited. What has none is counted with the reason, so that entries and that are all packets that were dropped.
 */
#ifndef TIDEGATE_DENIED_H
#define TIDEGATE_DENIED_H

#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>
#include "maps.h"
#include "parse.h"
#include "places.h"
#include "report.h"
#include "verdict.h"

/* Not 0: what is dropped is counted here. */
volatile const __u32 tg_denials = 0;
/* Keys the hash of sources, so that nobody chooses whose share is whose. */
volatile const __u64 tg_denied_seed = 0;
/* Size of tg_denied_shares less one; a power of two less one. */
volatile const __u32 tg_denied_mask = 1;
/* ns between two entries of a source by port, of a source for all else, and of a processor; and how far ahead each may draw. */
volatile const __u64 tg_denied_port_interval_ns = 937500000;
volatile const __u64 tg_denied_port_burst_ns = 60000000000;
volatile const __u64 tg_denied_rest_interval_ns = 3750000000;
volatile const __u64 tg_denied_rest_burst_ns = 60000000000;
volatile const __u64 tg_denied_cpu_interval_ns = 10000000;
volatile const __u64 tg_denied_cpu_burst_ns = 40960000000;

/* What the port of a key is. */
enum tg_denied_kind {
	TG_DENIED_PORTLESS, /* nothing: later fragments, transports without ports, headers that are cut off */
	TG_DENIED_PORT,	    /* the destination's */
	TG_DENIED_ICMP,	    /* ICMP's type, and its code in the lower half */
	TG_DENIED_REST,	    /* nothing: all ports beyond the share of its source */
};

struct tg_denied_key {
	__u32 source[4]; /* in network order; IPv4: the first */
	__u32 destination[4];
	__u32 vlans; /* as tg_packet.vlans */
	__u16 port;  /* in host order */
	__u8 transport;
	__u8 family; /* 4 or 6 */
	__u8 kind;
	__u8 turn;
	__u8 reserved[2];
};

struct tg_denied {
	__u64 first_ns; /* CLOCK_MONOTONIC */
	__u64 last_ns;	/* the same, late by a tick at most */
	__u64 packets;
	__u64 bytes;	   /* of IP */
	__u8 id[16];	   /* of the verdict that dropped the first packet; zeros: the guard did, without one */
	__u32 tcp_flags;   /* all control bits */
	__u16 source_port; /* of the first packet */
	__u8 several;	   /* not 0: others came from other ports */
	__u8 reserved;
};

/* What became of packets that were dropped, and why there was no entry; one for each processor. */
struct tg_denied_tally {
	__u64 packets; /* all */
	__u64 bytes;
	__u64 untold; /* of these, those that have no entry */
	__u64 untold_bytes;
	__u64 rest;	 /* packets that are told without their port, as their source had its share */
	__u64 by_source; /* untold: their source had its share of these too */
	__u64 by_cpu;	 /* untold: the processor had begun as many as it may */
	__u64 full;	 /* untold: there are as many as there may be */
	__u64 failed;	 /* untold: another error */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tg_denied_key);
	__type(value, struct tg_denied);
} tg_denied SEC(".maps");

/* Whose turn it is, 0 or 1; 2: nothing more is counted. User space writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tg_denied_turn SEC(".maps");

/* When the shares of a source are empty, that by port and the other, beside each other; sources of one hash have one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} tg_denied_shares SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tg_denied_cpu SEC(".maps");

/* What an entry begins with is put together here: the stack is small. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tg_denied);
} tg_fresh_denied SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tg_denied_tally);
} tg_denied_tallies SEC(".maps");

static __always_inline struct tg_denied_tally *tg_denied_tally_of(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tg_denied_tallies, &zero);
}

/* `key` is zero. */
static __always_inline void tg_denied_key_of(const struct tg_packet *packet, __u32 turn, struct tg_denied_key *key)
{
	/* Four bytes were written of an IPv4 address: to read eight would wait in the processor. */
	if (packet->family == 4) {
		key->source[0] = packet->source[0];
		key->destination[0] = packet->destination[0];
	} else {
		__builtin_memcpy(key->source, packet->source, 16);
		__builtin_memcpy(key->destination, packet->destination, 16);
	}
	key->vlans = packet->vlans;
	key->transport = packet->transport;
	key->family = packet->family;
	key->turn = turn;
	if (packet->layer4 == TG_OPAQUE)
		return;
	if (packet->transport == TG_ICMP || packet->transport == TG_ICMPV6) {
		key->kind = TG_DENIED_ICMP;
		key->port = (__u16)packet->icmp_type << 8 | packet->icmp_code;
	} else {
		key->kind = TG_DENIED_PORT;
		key->port = packet->destination_port;
	}
}

/* Whether a verdict can be the one that dropped a packet so: in force, about it, and of that kind. */
static __always_inline int tg_is_cause(const struct tg_block *block, const struct tg_packet *packet, __u32 outcome,
				       __u64 now)
{
	if (!block || !block->enforce || (block->deadline_ns && now >= block->deadline_ns))
		return 0;
	if (block->by == TG_BY_GUARD || outcome == TG_DROP_GUARD)
		return block->by == TG_BY_GUARD && outcome == TG_DROP_GUARD;
	return (block->action == TG_RATE_LIMIT) == (outcome == TG_DROP_RATE) && tg_concerns(block, packet);
}

static __always_inline struct tg_block *tg_block_of_address(const struct tg_packet *packet)
{
	if (packet->family == 4)
		return bpf_map_lookup_elem(&tg_block4, packet->source);
	return bpf_map_lookup_elem(&tg_block6, packet->source);
}

static __always_inline struct tg_block *tg_block_of_network(const struct tg_packet *packet, __u32 prefix)
{
	struct tg_net4_key key4 = { .prefix = prefix < 32 ? prefix : 32 };
	struct tg_net6_key key6 = { .prefix = prefix };

	if (packet->family == 4) {
		__builtin_memcpy(key4.address, packet->source, 4);
		return bpf_map_lookup_elem(&tg_net4, &key4);
	}
	__builtin_memcpy(key6.address, packet->source, 16);
	return bpf_map_lookup_elem(&tg_net6, &key6);
}

/*
 * The verdict is looked up again, for a new entry alone: so nothing is carried along for it. Not by verdict.h's
 * functions, which are made for speed. Of two that limit a rate the narrower one is named.
 */
static __noinline int tg_name_cause(const struct tg_packet *packet, __u32 outcome, __u64 now,
				    struct tg_denied *fresh)
{
	struct tg_block *block = 0;
	__u32 prefix = 128;
	int nested;

	if (!fresh)
		return 0;
	__builtin_memset(fresh->id, 0, sizeof(fresh->id));
	if (outcome != TG_DROP_NETWORK)
		block = tg_block_of_address(packet);
	for (nested = 0; nested <= TG_NESTED && !tg_is_cause(block, packet, outcome, now); nested++) {
		block = tg_block_of_network(packet, prefix);
		if (!block || block->prefix == 0)
			break;
		prefix = block->prefix - 1;
	}
	if (tg_is_cause(block, packet, outcome, now))
		__builtin_memcpy(fresh->id, block->id, sizeof(fresh->id));
	return 0;
}

/* The share of a source: `rest` of 0 by port, of 1 for all else. */
static __always_inline __u64 *tg_denied_share(const struct tg_denied_key *key, __u32 rest)
{
	const __u64 *words = (const __u64 *)key->source;
	__u64 hash = tg_mix(tg_mix(tg_denied_seed, words[0]), words[1]);
	__u32 index = ((__u32)(hash >> 32) << 1 | rest) & tg_denied_mask;

	return bpf_map_lookup_elem(&tg_denied_shares, &index);
}

static __always_inline long tg_insert_denied(const struct tg_denied_key *key, const struct tg_denied *fresh)
{
	long error = bpf_map_update_elem(&tg_denied, key, fresh, BPF_NOEXIST);

	/* User space is at the same place: once more. */
	if (error == -EBUSY)
		error = bpf_map_update_elem(&tg_denied, key, fresh, BPF_NOEXIST);
	return error;
}

/* The entry of a packet that has none yet: its own, or that of all else of its source; 0 if there is no place for it. */
static __noinline struct tg_denied *tg_begin_denied(const struct tg_packet *packet, struct tg_denied_key *key,
						    __u32 outcome)
{
	__u32 zero = 0;
	struct tg_denied_tally *tally = tg_denied_tally_of();
	struct tg_denied *fresh = bpf_map_lookup_elem(&tg_fresh_denied, &zero);
	__u64 *cpu = bpf_map_lookup_elem(&tg_denied_cpu, &zero);
	__u64 *share = tg_denied_share(key, 0);
	__u64 now = bpf_ktime_get_ns();
	struct tg_denied *found;
	long error;

	if (!tally || !fresh || !cpu || !share)
		return 0;
	if (!tg_draw(share, now, tg_denied_port_interval_ns, tg_denied_port_burst_ns)) {
		key->kind = TG_DENIED_REST;
		key->port = 0;
		found = bpf_map_lookup_elem(&tg_denied, key);
		if (found)
			return found;
		share = tg_denied_share(key, 1);
		if (!share || !tg_draw(share, now, tg_denied_rest_interval_ns, tg_denied_rest_burst_ns)) {
			tally->by_source += 1;
			return 0;
		}
	}
	if (!tg_draw(cpu, now, tg_denied_cpu_interval_ns, tg_denied_cpu_burst_ns)) {
		tally->by_cpu += 1;
		return 0;
	}
	/* The rest of it is zero, always. */
	fresh->first_ns = now;
	fresh->last_ns = now;
	fresh->source_port = packet->source_port;
	tg_name_cause(packet, outcome, now, fresh);
	error = tg_insert_denied(key, fresh);
	if (error == -E2BIG)
		tally->full += 1;
	/* Another processor may have been first. */
	else if (error && error != -EEXIST)
		tally->failed += 1;
	if (error && error != -EEXIST)
		return 0;
	found = bpf_map_lookup_elem(&tg_denied, key);
	if (!found)
		tally->failed += 1;
	return found;
}

/*
 * Counts a packet that is dropped, as this outcome. A global function, as tg_walk: that headers are read again is
 * paid for where somebody reads the counts.
 */
__noinline int tg_deny(struct xdp_md *ctx, __u32 length, __u32 outcome)
{
	struct tg_cursor cursor = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.limit = length,
	};
	__u32 zero = 0;
	__u32 *turn = bpf_map_lookup_elem(&tg_denied_turn, &zero);
	struct tg_daemon *daemon = bpf_map_lookup_elem(&tg_daemon, &zero);
	struct tg_denied_tally *tally = tg_denied_tally_of();
	struct tg_denied_key key TG_ALIGNED = {};
	struct tg_packet packet TG_ALIGNED = {};
	struct tg_head head = {};
	struct tg_denied *denied;
	__u32 whose;
	__u64 now;

	if (!turn || !daemon || !tally)
		return 0;
	whose = *(volatile __u32 *)turn;
	if (whose > 1 || tg_parse_head(ctx, &cursor, &head, 1) != TG_OK)
		return 0;
	tg_describe(&cursor, &head, &packet);
	tally->packets += 1;
	tally->bytes += packet.ip_bytes;
	tg_denied_key_of(&packet, whose, &key);
	denied = bpf_map_lookup_elem(&tg_denied, &key);
	if (!denied)
		denied = tg_begin_denied(&packet, &key, outcome);
	if (!denied) {
		tally->untold += 1;
		tally->untold_bytes += packet.ip_bytes;
		return 0;
	}
	if (key.kind == TG_DENIED_REST)
		tally->rest += 1;
	__sync_fetch_and_add(&denied->packets, 1);
	__sync_fetch_and_add(&denied->bytes, packet.ip_bytes);
	/* Seldom: what waits for memory is the write. */
	if (packet.tcp_flags & ~denied->tcp_flags)
		__sync_fetch_and_or(&denied->tcp_flags, packet.tcp_flags);
	if (packet.source_port != denied->source_port && !denied->several)
		denied->several = 1;
	now = tg_now(daemon);
	if (now > denied->last_ns)
		denied->last_ns = now;
	return 0;
}

#endif
