/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The guard: who tries many ports faster than any verdict of user space comes. Its SYNs are held off for a few
 * seconds, and user space is told, which makes a verdict of it or takes it back. Off unless the config says so.
 *
 * Whoever sends SYNs may lie about who he is. So only SYNs are dropped, and for a short time; a source that
 * completed a connection lately is left alone; of one that sent no second SYN nothing is kept; and how many
 * are held in a minute is limited.
 */
#ifndef TIDEGATE_GUARD_H
#define TIDEGATE_GUARD_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "event.h"
#include "maps.h"
#include "parse.h"
#include "report.h"
#include "verdict.h"

/* At so many distinct ports within the time of a hold, and no connection completed, a source is held; 0: never. */
volatile const __u32 tg_guard_ports = 0;
/* Not 0: held SYNs are dropped; else they would have been. */
volatile const __u32 tg_guard_enforces = 0;
/* How long a source is held, and in how much time its ports are counted. */
volatile const __u64 tg_guard_hold_ns = 10000000000;
/* How old the heartbeat may be: the daemon's egress program, which sees connections complete, ends with it. */
volatile const __u64 tg_guard_alive_ns = 5000000000;
/* ns between two holds on a processor, and how far ahead they may draw. */
volatile const __u64 tg_guard_interval_ns = 300000000;
volatile const __u64 tg_guard_burst_ns = 60000000000;
/* Size of the three maps below, less one; a power of two less one. */
volatile const __u32 tg_guard_mask = 1;

/* For how long a completed connection speaks for its source, in units of 2^20 ns: about an hour. */
#define TG_VOUCHED (3600 * 954)
/* A second SYN makes a source known if it comes within this, in units of 2^30 ns: about 10 s. */
#define TG_SECOND 10

/* Sources that are watched: two places for each. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct tg_suspect);
} tg_suspects SEC(".maps");

/* Sources that sent a SYN: hash, port and time in one word. Whoever comes later overwrites it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} tg_firsts SEC(".maps");

/* Sources that completed a connection: hash and time. The older of two is overwritten. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} tg_vouched SEC(".maps");

/* A SYN. */
struct tg_opening {
	__u64 source[2]; /* in network order; IPv4: the first four bytes */
	__u64 destination[2];
	__u32 ip_bytes;
	__u16 source_port; /* in host order */
	__u16 destination_port;
	__u16 tcp_flags;
	__u8 family; /* 4 or 6 */
	__u8 reserved[5];
};

static __always_inline __u64 tg_source_mark(const __u64 *source)
{
	return tg_mix(tg_mix(tg_mix(tg_seed, 0x20000), source[0]), source[1]) | 1;
}

static __always_inline __u64 *tg_voucher_at(__u32 index)
{
	index &= tg_guard_mask;
	return bpf_map_lookup_elem(&tg_vouched, &index);
}

static __always_inline int tg_speaks(__u64 voucher, __u64 mark, __u32 now)
{
	/* The two clocks differ by a tick. */
	return voucher >> 32 == (__u32)mark && (__s32)(now - (__u32)voucher) < TG_VOUCHED;
}

static __noinline int tg_is_vouched(__u64 mark, __u32 now)
{
	__u32 index = mark >> 32;
	__u64 *one = tg_voucher_at(index);
	__u64 *other = tg_voucher_at(index ^ 1);

	return one && other && (tg_speaks(*one, mark, now) || tg_speaks(*other, mark, now));
}

/* This source has completed a connection. A global function, as tg_walk: it is called from many places. */
__noinline int tg_vouch(__u64 source, __u64 further, __u32 now)
{
	__u64 words[2] = { source, further };
	__u64 mark = tg_source_mark(words);
	__u32 index = mark >> 32;
	__u64 *one = tg_voucher_at(index);
	__u64 *other = tg_voucher_at(index ^ 1);

	if (!one || !other)
		return 0;
	if (*one >> 32 != (__u32)mark && (*other >> 32 == (__u32)mark || (__u32)*other < (__u32)*one))
		one = other;
	*one = mark << 32 | now;
	return 0;
}

/* Whether the source has sent a SYN lately; the port of that one is given. */
static __noinline int tg_came_before(__u64 mark, __u16 port, __u32 now, __u16 *before)
{
	__u32 index = (mark >> 32) & tg_guard_mask;
	__u64 *first = bpf_map_lookup_elem(&tg_firsts, &index);
	__u16 seconds = now >> 10;
	__u64 known;

	if (!first)
		return 0;
	known = *first;
	*first = mark << 32 | (__u64)port << 16 | seconds;
	*before = known >> 16;
	return known >> 32 == (__u32)mark && (__u16)(seconds - (__u16)known) <= TG_SECOND;
}

static __always_inline struct tg_suspect *tg_suspect_at(__u32 index)
{
	index &= tg_guard_mask;
	return bpf_map_lookup_elem(&tg_suspects, &index);
}

static __noinline struct tg_suspect *tg_suspect_of(__u64 mark, __u32 *index)
{
	__u32 first = (mark >> 32) & tg_guard_mask;
	struct tg_suspect *suspect = tg_suspect_at(first);

	*index = first;
	if (suspect && suspect->mark == mark)
		return suspect;
	*index = first ^ 1;
	suspect = tg_suspect_at(first ^ 1);
	return suspect && suspect->mark == mark ? suspect : 0;
}

/* Ports are counted anew. */
static __always_inline void tg_start_over(struct tg_suspect *suspect, __u32 now)
{
	suspect->began = now;
	suspect->count = 0;
	suspect->told = 0;
	suspect->held_ns = 0;
	suspect->packets = 0;
	suspect->bytes = 0;
	__builtin_memset(suspect->ports, 0, sizeof(suspect->ports));
}

/* How little is lost if another source is watched in its place; 0: too much. */
static __always_inline __u32 tg_harmless(const struct tg_suspect *suspect, __u64 now)
{
	if (suspect->mark == 0)
		return ~0U;
	if (suspect->held_ns > now)
		return 0;
	return (__u32)(now >> 20) - suspect->seen + 1;
}

static __noinline struct tg_suspect *tg_watch(__u64 mark, __u32 *index, __u64 now)
{
	__u32 first = (mark >> 32) & tg_guard_mask;
	struct tg_suspect *suspect = tg_suspect_at(first);
	struct tg_suspect *other = tg_suspect_at(first ^ 1);
	struct tg_tally *tally = tg_tally_of();

	if (!suspect || !other || !tally)
		return 0;
	*index = first;
	if (tg_harmless(other, now) > tg_harmless(suspect, now)) {
		suspect = other;
		*index = first ^ 1;
	}
	if (tg_harmless(suspect, now) <= tg_guard_hold_ns >> 20)
		tally->evicted += 1;
	if (tg_harmless(suspect, now) == 0)
		return 0;
	suspect->mark = 0;
	tg_start_over(suspect, now >> 20);
	suspect->bucket_ns = 0;
	suspect->limited_ns = 0;
	suspect->unlisted = 0;
	suspect->mark = mark;
	return suspect;
}

/* Keyed, so that nobody finds ports that are counted as one. */
static __always_inline void tg_note_port(struct tg_suspect *suspect, __u16 port)
{
	__u32 bit = tg_mix(tg_seed, 0x30000 | port) >> 32;
	__u64 *word = &suspect->ports[(bit >> 6) & 15];
	__u64 mask = 1ULL << (bit & 63);

	if (*word & mask)
		return;
	*word |= mask;
	suspect->count += 1;
}

/* Tells of a hold, or of a limit; 0 if there was no room. */
static __noinline int tg_tell_guard(const struct tg_opening *opening, const struct tg_suspect *suspect,
				    __u32 index, __u32 told)
{
	struct tg_event *event = tg_event_room();

	if (!event)
		return 0;
	event->time_ns = bpf_ktime_get_ns();
	event->mark = suspect->mark;
	__builtin_memcpy(event->source, opening->source, 16);
	__builtin_memcpy(event->destination, opening->destination, 16);
	event->place = index;
	event->source_port = opening->source_port;
	event->destination_port = opening->destination_port;
	event->tcp_flags = opening->tcp_flags;
	event->told = told;
	event->family = opening->family;
	event->transport = TG_TCP;
	event->proven = 0;
	event->socket = 255;
	event->outward = 0;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 1;
}

static __noinline int tg_is_on_list(const struct tg_opening *opening)
{
	void *found;

	if (opening->family == 4) {
		struct tg_net4_key key = { .prefix = 32 };

		if (!tg_word(TG_HAS_ALLOW4))
			return 0;
		*(__u32 *)key.address = opening->source[0];
		found = bpf_map_lookup_elem(&tg_allow4, &key);
		TG_ALONE(found, "guard allow4");
	} else {
		struct tg_net6_key key = { .prefix = 128 };

		if (!tg_word(TG_HAS_ALLOW6))
			return 0;
		__builtin_memcpy(key.address, opening->source, 16);
		found = bpf_map_lookup_elem(&tg_allow6, &key);
		TG_ALONE(found, "guard allow6");
	}
	return !!found;
}

/* Whether the allow list has it; looked up once for each state of the list. */
static __always_inline int tg_is_free(const struct tg_opening *opening, struct tg_suspect *suspect,
				      __u32 generation)
{
	if (generation && suspect->unlisted == generation)
		return 0;
	if (tg_is_on_list(opening))
		return 1;
	suspect->unlisted = generation;
	return 0;
}

static __always_inline __u32 tg_withhold(const struct tg_opening *opening, struct tg_suspect *suspect)
{
	__sync_fetch_and_add(&suspect->packets, 1);
	__sync_fetch_and_add(&suspect->bytes, opening->ip_bytes);
	return tg_guard_enforces ? TG_DROP_GUARD : TG_WOULD_DROP;
}

/* Whether one more may be held now. */
static __always_inline int tg_may_hold(__u64 now)
{
	__u32 one = 1;
	__u64 *bucket = bpf_map_lookup_elem(&tg_cpu_bucket, &one);
	struct tg_tally *tally;

	if (bucket && tg_draw(bucket, now, tg_guard_interval_ns, tg_guard_burst_ns))
		return 1;
	tally = tg_tally_of();
	if (tally)
		tally->unheld += 1;
	return 0;
}

/* Above the rate of SYNs: only what is too much is dropped, whoever it is. */
static __always_inline __u32 tg_limit(const struct tg_opening *opening, struct tg_suspect *suspect,
				      __u32 index, __u64 now, __u32 generation)
{
	if (tg_draw(&suspect->bucket_ns, now, tg_syn_interval_ns, tg_syn_burst_ns) ||
	    tg_is_free(opening, suspect, generation))
		return TG_PASS;
	if (suspect->limited_ns <= now && tg_may_hold(now) &&
	    tg_tell_guard(opening, suspect, index, TG_TOLD_LIMITED))
		suspect->limited_ns = now + tg_guard_hold_ns;
	return tg_withhold(opening, suspect);
}

/* What becomes of a SYN that no verdict drops: TG_PASS, or it is withheld. */
static __always_inline __u32 tg_guard_opening(const struct tg_opening *opening)
{
	__u32 zero = 0, index = 0, units, is_vouched, generation;
	struct tg_suspect *suspect;
	struct tg_daemon *daemon;
	__u16 before = 0;
	__u64 mark, now;

	daemon = bpf_map_lookup_elem(&tg_daemon, &zero);
	if (!daemon)
		return TG_PASS;
	now = tg_now(daemon);
	if (now > daemon->heartbeat_ns + tg_guard_alive_ns)
		return TG_PASS;
	generation = daemon->allow_generation;
	units = now >> 20;
	mark = tg_source_mark(opening->source);
	is_vouched = tg_is_vouched(mark, units);
	if (is_vouched && !tg_syn_interval_ns)
		return TG_PASS;
	suspect = tg_suspect_of(mark, &index);
	if (!suspect) {
		if (!tg_came_before(mark, opening->destination_port, units, &before))
			return TG_PASS;
		suspect = tg_watch(mark, &index, now);
		if (!suspect)
			return TG_PASS;
		tg_note_port(suspect, before);
	}
	suspect->seen = units;
	if (tg_syn_interval_ns) {
		__u32 outcome = tg_limit(opening, suspect, index, now, generation);

		if (outcome != TG_PASS)
			return outcome;
		if (is_vouched)
			return TG_PASS;
	}
	if (suspect->held_ns == 0) {
		if ((__u64)(__u32)(units - suspect->began) << 20 > tg_guard_hold_ns)
			tg_start_over(suspect, units);
		tg_note_port(suspect, opening->destination_port);
		if (suspect->count < tg_guard_ports)
			return TG_PASS;
		/* Another processor may have given its place away. */
		if (suspect->mark == mark && !tg_is_free(opening, suspect, generation) && tg_may_hold(now))
			suspect->held_ns = now + tg_guard_hold_ns;
	}
	/* A hold ends by itself, and an entry of the allow list counts at once. */
	if (suspect->held_ns <= now || tg_is_free(opening, suspect, generation)) {
		tg_start_over(suspect, units);
		return TG_PASS;
	}
	if (!suspect->told)
		suspect->told = tg_tell_guard(opening, suspect, index, TG_TOLD_HELD);
	return tg_withhold(opening, suspect);
}

/* Whether it is a SYN that can be read; then what the guard has to know of it. */
static __always_inline int tg_is_opening(const struct tg_cursor *cursor, __u32 ip_at, __u32 family,
					 struct tg_opening *opening)
{
	struct tg_cursor ip = *cursor;
	__u8 *bytes;

	if (!tg_at(cursor, 14, &bytes) || bytes[12] >> 4 < 5)
		return 0;
	if ((bytes[13] & (TG_FIN | TG_SYN | TG_RST | TG_ACK)) != TG_SYN)
		return 0;
	opening->source_port = tg_be16(bytes);
	opening->destination_port = tg_be16(bytes + 2);
	opening->tcp_flags = tg_be16(bytes + 12) & 0x0fff;
	opening->ip_bytes = cursor->limit - ip_at;
	opening->family = family;
	ip.at = ip_at;
	if (family == 4) {
		if (!tg_at(&ip, 20, &bytes))
			return 0;
		opening->source[0] = ((const struct iphdr *)bytes)->saddr;
		opening->destination[0] = ((const struct iphdr *)bytes)->daddr;
	} else {
		if (!tg_at(&ip, 40, &bytes))
			return 0;
		__builtin_memcpy(opening->source, &((const struct ipv6hdr *)bytes)->saddr, 16);
		__builtin_memcpy(opening->destination, &((const struct ipv6hdr *)bytes)->daddr, 16);
	}
	return 1;
}

/* What becomes of a TCP packet whose headers are at these offsets. A global function: the verifier looks at it once. */
__noinline __u32 tg_guard(struct xdp_md *ctx, __u32 at, __u32 limit, __u32 ip_at, __u32 family)
{
	struct tg_cursor cursor = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.at = at,
		.limit = limit,
	};
	struct tg_opening opening = {};

	if (!tg_is_opening(&cursor, ip_at, family, &opening))
		return TG_PASS;
	return tg_guard_opening(&opening);
}

/* What becomes of a packet of this outcome, by the guard. */
static __always_inline __u32 tg_guarded(struct xdp_md *ctx, const struct tg_cursor *cursor,
					const struct tg_head *head, __u32 outcome)
{
	__u32 further;

	if (outcome != TG_PASS && outcome != TG_OUT_OF_SCOPE && outcome != TG_WITHIN_RATE)
		return outcome;
	if (head->transport != TG_TCP || head->fragment == TG_LATER || head->hidden)
		return outcome;
	further = tg_guard(ctx, cursor->at, cursor->limit, cursor->limit - head->ip_bytes, head->family);
	return further == TG_PASS ? outcome : further;
}

#endif
