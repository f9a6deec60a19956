/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of flows, and which key in it a packet has: the same for both directions. */
#ifndef TIDEGATE_TABLE_H
#define TIDEGATE_TABLE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "parse.h"
#include "places.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tg_flow_key);
	__type(value, struct tg_flow);
} tg_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tg_account);
} tg_account SEC(".maps");

/* Not 0: nothing more is counted. User space sets it before it takes the last counts. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tg_account_stop SEC(".maps");

/* The types of ICMP that are answered by another: src/record/community_id.rs. 256: none. */
static __always_inline __u32 tg_answer_to(__u32 transport, __u32 type)
{
	if (transport == TG_ICMP) {
		switch (type) {
		case 8:
			return 0;
		case 0:
			return 8;
		case 10:
			return 9;
		case 9:
			return 10;
		case 13:
		case 15:
		case 17:
			return type + 1;
		case 14:
		case 16:
		case 18:
			return type - 1;
		}
		return 256;
	}
	switch (type) {
	case 128:
	case 130:
	case 133:
	case 135:
	case 139:
	case 144:
		return type + 1;
	case 129:
	case 131:
	case 134:
	case 136:
	case 140:
	case 145:
		return type - 1;
	}
	return 256;
}

/* Whether the sender is the low end. Any order will do that is the same for both directions. */
static __always_inline int tg_sent_low(const struct tg_packet *packet, __u32 from_port, __u32 to_port)
{
	const __u64 *from = (const __u64 *)packet->source;
	const __u64 *to = (const __u64 *)packet->destination;

	if (from[0] != to[0])
		return from[0] < to[0];
	if (from[1] != to[1])
		return from[1] < to[1];
	return from_port <= to_port;
}

/* The key of a packet's flow; whether the low end sent it. `key` is zero. */
static __always_inline int tg_flow_key_of(const struct tg_packet *packet, struct tg_flow_key *key)
{
	__u32 from_port = packet->source_port;
	__u32 to_port = packet->destination_port;
	int from_low;

	key->vlans = packet->vlans;
	key->transport = packet->transport;
	key->family = packet->family;
	if (packet->layer4 != TG_OPAQUE)
		key->kind = TG_KEY_PORTS;
	if (packet->layer4 == TG_READ &&
	    (packet->transport == TG_ICMP || packet->transport == TG_ICMPV6)) {
		from_port = packet->icmp_type;
		to_port = tg_answer_to(packet->transport, from_port);
		key->kind = TG_KEY_PAIRED;
		if (to_port == 256) {
			to_port = packet->icmp_code;
			key->kind = TG_KEY_ONE_WAY;
		}
	}
	from_low = key->kind == TG_KEY_ONE_WAY || tg_sent_low(packet, from_port, to_port);
	if (from_low) {
		__builtin_memcpy(key->low, packet->source, 16);
		__builtin_memcpy(key->high, packet->destination, 16);
		key->low_port = from_port;
		key->high_port = to_port;
	} else {
		__builtin_memcpy(key->low, packet->destination, 16);
		__builtin_memcpy(key->high, packet->source, 16);
		key->low_port = to_port;
		key->high_port = from_port;
	}
	return from_low;
}

#endif
