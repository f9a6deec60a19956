/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The places of connections and of first contacts: whose is which, who takes over whose, and what is told of
 * one. An array with two places for each mark, so that a flood overwrites and fills nothing.
 */
#ifndef TIDEGATE_PLACES_H
#define TIDEGATE_PLACES_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "parse.h"
#include "report.h"

/* What is older is as good as free, in units of 2^20 ns: about 300 s. */
#define TG_STALE (300 * 954)
/* Since then a SYN of the same addresses and ports begins something else: about 3 s. */
#define TG_REUSED (3 * 954)
/* Addresses are read in words of eight bytes. */
#define TG_ALIGNED __attribute__((aligned(8)))

/* A packet, and the connection it may belong to. */
struct tg_meeting {
	const struct tg_packet *packet;
	struct tg_place *place; /* of its connection, or 0 */
	__u64 mark;		/* of its connection */
	__u32 index;
	__u32 from_low; /* the low end sent it */
	__u32 outward;	/* this host sent it */
};

static __always_inline __u32 tg_units(void)
{
	return bpf_ktime_get_coarse_ns() >> 20;
}

/* Ports where people log in, and of web servers: each connection is told. */
static __always_inline int tg_is_followed(__u16 port)
{
	switch (port) {
	case 21:
	case 22:
	case 23:
	case 3389:
	case 5900:
	case 80:
	case 443:
	case 8080:
	case 8443:
		return 1;
	default:
		return 0;
	}
}

/* The two ends, the low one first, make the mark: the same for both directions. */
static __always_inline void tg_mark(struct tg_meeting *meeting, const __u64 *from, const __u64 *to,
				    __u16 from_port, __u16 to_port, __u32 kind)
{
	__u64 hash = tg_mix(tg_seed, kind);
	int low;

	if (from[0] != to[0])
		low = from[0] < to[0];
	else if (from[1] != to[1])
		low = from[1] < to[1];
	else
		low = from_port <= to_port;
	hash = tg_mix(hash, low ? from[0] : to[0]);
	hash = tg_mix(hash, low ? to[0] : from[0]);
	if (from[1] | to[1]) {
		hash = tg_mix(hash, low ? from[1] : to[1]);
		hash = tg_mix(hash, low ? to[1] : from[1]);
	}
	hash = tg_mix(hash, low ? (__u64)from_port << 16 | to_port : (__u64)to_port << 16 | from_port);
	meeting->mark = hash | 1;
	meeting->from_low = low;
}

static __always_inline struct tg_place *tg_place_at(__u32 index)
{
	index &= tg_place_mask;
	return bpf_map_lookup_elem(&tg_places, &index);
}

/* The flags of a place that an end of this packet's began. */
static __always_inline __u32 tg_begun(const struct tg_meeting *meeting, __u32 by_sender)
{
	__u32 from_low = by_sender ? meeting->from_low : !meeting->from_low;
	__u32 outward = by_sender ? meeting->outward : !meeting->outward;

	return (from_low ? TG_FROM_LOW : 0) | (outward && !tg_is_mirror ? TG_OUTWARD : 0);
}

/*
 * Whether the packet goes the way of what began the connection. An answer that does is forged: by who says that
 * it is from this host, or from a host behind it. (Forwarded by the interface that it came by, it is seen again.)
 */
static __always_inline int tg_goes_along(const struct tg_meeting *meeting)
{
	return !tg_is_mirror && !(meeting->place->flags & TG_OUTWARD) == !meeting->outward;
}

/* The place of this mark: one of two. */
static __always_inline struct tg_place *tg_find(__u64 mark, __u32 *index)
{
	__u32 first = (mark >> 32) & tg_place_mask;
	struct tg_place *place = tg_place_at(first);

	*index = first;
	if (place && place->mark == mark)
		return place;
	*index = first ^ 1;
	place = tg_place_at(first ^ 1);
	return place && place->mark == mark ? place : 0;
}

static __always_inline int tg_is_open(const struct tg_place *place)
{
	return place->progress == TG_TRIED || place->progress == TG_ANSWERED;
}

/* How little is lost if a place is taken over: the more the better. */
static __always_inline __u32 tg_worthless(const struct tg_place *place, __u32 now)
{
	__u32 age = now - place->changed;

	if (place->mark == 0 || age > TG_STALE)
		return ~0U;
	return tg_is_open(place) && age < TG_REUSED ? 0 : age + 1;
}

/* Takes a place for this mark: the one it has, else the one that is missed less. */
static __noinline struct tg_place *tg_claim(__u64 mark, __u32 *index, __u32 now)
{
	struct tg_place *place = tg_find(mark, index);
	struct tg_place *other;
	struct tg_tally *tally;

	if (!place) {
		__u32 first = (mark >> 32) & tg_place_mask;

		place = tg_place_at(first);
		other = tg_place_at(first ^ 1);
		if (!place || !other)
			return 0;
		*index = first;
		if (tg_worthless(other, now) > tg_worthless(place, now)) {
			place = other;
			*index = first ^ 1;
		}
		if (tg_worthless(place, now) == 0) {
			tally = tg_tally_of();
			if (tally)
				tally->displaced += 1;
		}
	}
	place->mark = mark;
	place->low_bytes = 0;
	place->high_bytes = 0;
	place->number = 0;
	place->began = now;
	place->changed = now;
	place->flags = 0;
	return place;
}

/* Tells something of the contact that the sender of the packet makes, or its receiver does. */
static __noinline void tg_tell(const struct tg_meeting *meeting, __u32 told, __u32 by_sender,
				    __u32 proven, __u32 socket)
{
	const struct tg_packet *packet = meeting->packet;
	struct tg_event *event = tg_event_room();

	if (!event)
		return;
	event->time_ns = bpf_ktime_get_ns();
	event->mark = meeting->mark;
	__builtin_memcpy(event->source, by_sender ? packet->source : packet->destination, 16);
	__builtin_memcpy(event->destination, by_sender ? packet->destination : packet->source, 16);
	event->place = meeting->index;
	event->source_port = by_sender ? packet->source_port : packet->destination_port;
	event->destination_port = by_sender ? packet->destination_port : packet->source_port;
	event->tcp_flags = packet->tcp_flags;
	event->told = told;
	event->family = packet->family;
	event->transport = packet->transport;
	event->proven = proven;
	event->socket = socket;
	event->outward = meeting->outward;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/* The mark of a source's first contact with a (destination, port), of this kind. */
static __always_inline __u64 tg_contact_mark(const void *source, const void *destination, __u16 port,
					     __u32 kind)
{
	const __u64 *from = source;
	const __u64 *to = destination;
	__u64 hash = tg_mix(tg_seed, 0x10000 | kind);

	hash = tg_mix(tg_mix(hash, from[0]), from[1]);
	hash = tg_mix(tg_mix(hash, to[0]), to[1]);
	return tg_mix(hash, port) | 1;
}

/* Whether a contact of this kind has not been told lately; then it is said to be, from now on. */
static __noinline int tg_is_first(const struct tg_packet *packet, __u16 port, __u32 kind,
				       __u32 now)
{
	__u64 mark = tg_contact_mark(packet->source, packet->destination, port, kind);
	struct tg_place *met;
	__u32 index;

	met = tg_find(mark, &index);
	if (met && now - met->changed <= TG_STALE)
		return 0;
	met = tg_claim(mark, &index, now);
	if (met)
		met->progress = TG_MET;
	return 1;
}

/* A contact has succeeded: later ones with the same port need not be told. */
static __always_inline void tg_reach(const void *source, const void *destination, __u16 port,
				     __u32 kind)
{
	struct tg_place *met;
	__u32 index;

	met = tg_find(tg_contact_mark(source, destination, port, kind), &index);
	if (met)
		met->progress = TG_REACHED;
}

#endif
