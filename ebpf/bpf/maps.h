/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps and the limits. Sizes of maps and limits are set when the program is loaded. */
#ifndef TIDEGATE_MAPS_H
#define TIDEGATE_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "tidegate.h"

/* Not 0: verdicts that are to be enforced drop packets. */
volatile const __u32 tg_enforce = 0;
/* How old the heartbeat may be before everything passes, ns; 0: verdicts hold until their deadline. */
volatile const __u64 tg_fail_open_ns = 0;
/* Rate limits: ns between two packets, and how far ahead a source may draw. */
volatile const __u64 tg_new_interval_ns = 1000000000;
volatile const __u64 tg_new_burst_ns = 5000000000;
volatile const __u64 tg_all_interval_ns = 10000000;
volatile const __u64 tg_all_burst_ns = 1000000000;
/* The same of SYNs of any source, if the guard limits them; 0: it does not. */
volatile const __u64 tg_syn_interval_ns = 0;
volatile const __u64 tg_syn_burst_ns = 0;
/* Length of a tick of the kernel. */
volatile const __u64 tg_tick_ns = 4000000;

/*
 * Verdicts on addresses: a plain hash, for an LRU would evict live ones silently. Allocated beforehand: that
 * takes 10 MB, and is a sixth faster when all are in use.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct tg_block);
} tg_block4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u8[16]);
	__type(value, struct tg_block);
} tg_block6 SEC(".maps");

/* Verdicts on networks. A trie without BPF_F_NO_PREALLOC does not load. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct tg_net4_key);
	__type(value, struct tg_block);
} tg_net4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct tg_net6_key);
	__type(value, struct tg_block);
} tg_net6 SEC(".maps");

/* Who is never blocked. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct tg_net4_key);
	__type(value, __u32);
} tg_allow4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct tg_net6_key);
	__type(value, __u32);
} tg_allow6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TG_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} tg_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tg_daemon);
} tg_daemon SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TG_OUTCOMES);
	__type(key, __u32);
	__type(value, struct tg_count);
} tg_stats SEC(".maps");

static __always_inline __u64 tg_word(__u32 word)
{
	__u64 *value = bpf_map_lookup_elem(&tg_state, &word);

	return value ? *value : 0;
}

static __always_inline void tg_count(__u32 outcome, __u64 bytes)
{
	struct tg_count *count = bpf_map_lookup_elem(&tg_stats, &outcome);

	if (count) {
		count->packets += 1;
		count->bytes += bytes;
	}
}

#endif
