/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The ring of events: who may write to it how often, and what it holds. */
#ifndef TIDEGATE_REPORT_H
#define TIDEGATE_REPORT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "tidegate.h"
#include "event.h"

/* Not 0: contacts are told. */
volatile const __u32 tg_contacts = 0;
/* Not 0: both directions pass by, at tc egress or because the interface is a mirror. */
volatile const __u32 tg_sees_replies = 0;
/* Not 0: the traffic is others', so sockets say nothing about it. */
volatile const __u32 tg_is_mirror = 0;
/* Keys the hashes, so that nobody chooses whose place is whose. */
volatile const __u64 tg_seed = 0;
/* Sizes of tg_places and tg_sources less one; both are powers of two. */
volatile const __u32 tg_place_mask = 1;
volatile const __u32 tg_source_mask = 1;
/* ns between two events of a source and of a processor, and how far ahead each may draw. */
volatile const __u64 tg_source_interval_ns = 5000000;
volatile const __u64 tg_source_burst_ns = 2500000000;
volatile const __u64 tg_cpu_interval_ns = 20000;
volatile const __u64 tg_cpu_burst_ns = 1000000000;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} tg_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct tg_place);
} tg_places SEC(".maps");

/* When the bucket of a source is empty; sources of one hash share it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} tg_sources SEC(".maps");

/* Of events, and of holds of the guard. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} tg_cpu_bucket SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tg_tally);
} tg_tallies SEC(".maps");

static __always_inline struct tg_tally *tg_tally_of(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tg_tallies, &zero);
}

static __always_inline __u64 tg_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

/* Draws one from a bucket (RFC 2697's idea, by time), if there is one. */
static __always_inline int tg_draw(__u64 *bucket, __u64 now, __u64 interval, __u64 burst)
{
	__u64 empty = *bucket;

	if (empty < now)
		empty = now;
	if (empty + interval > now + burst)
		return 0;
	/* Two processors may draw the same: a limit that is off by one is one all the same. */
	*bucket = empty + interval;
	return 1;
}

/* Whether a source may begin to tell something. What comes of it is told in any case. */
static __noinline int tg_may_tell(const void *source, __u64 now)
{
	const __u64 *words = source;
	struct tg_tally *tally = tg_tally_of();
	__u64 *bucket;
	__u32 zero = 0;
	__u32 index = (tg_mix(tg_mix(tg_seed, words[0]), words[1]) >> 32) & tg_source_mask;

	if (!tally)
		return 0;
	bucket = bpf_map_lookup_elem(&tg_sources, &index);
	if (!bucket || !tg_draw(bucket, now, tg_source_interval_ns, tg_source_burst_ns)) {
		tally->by_source += 1;
		return 0;
	}
	bucket = bpf_map_lookup_elem(&tg_cpu_bucket, &zero);
	if (!bucket || !tg_draw(bucket, now, tg_cpu_interval_ns, tg_cpu_burst_ns)) {
		tally->by_cpu += 1;
		return 0;
	}
	return 1;
}

/*
 * Room for an event in the ring; 0 if it is full. Whoever gets one fills it in and submits it without a
 * wake-up: user space looks by itself every few milliseconds. Not inlined, so that BTF has its layout.
 */
static __noinline struct tg_event *tg_event_room(void)
{
	struct tg_tally *tally = tg_tally_of();
	struct tg_event *event;

	if (!tally)
		return 0;
	tally->produced += 1;
	event = bpf_ringbuf_reserve(&tg_events, sizeof(*event), 0);
	if (!event)
		tally->lost += 1;
	return event;
}

#endif
