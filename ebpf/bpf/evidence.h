/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who tried to reach what, and what came of it: a packet moves the connection that it belongs to, and what
 * that shows of a contact is told. Replies are the best witness; where the program sees one direction only,
 * the sockets of this host are asked instead (session.h), for TCP.
 *
 * A SYN that meets no socket is an attempt, no failure: this runs before DNAT. It has failed once our own
 * RST or ICMP error is seen, or, as user space finds, once nothing came for 3 s.
 *
 * Sources: RFC 9293 (3.5, 3.10.7), 792, 4443.
 */
#ifndef TIDEGATE_EVIDENCE_H
#define TIDEGATE_EVIDENCE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "guard.h"
#include "parse.h"
#include "places.h"
#include "report.h"
#include "session.h"
#include "verdict.h"

/* What bpf_skc_lookup_tcp was not asked. */
#define TG_NOT_ASKED 255
#define TG_TIME_WAIT 6
/* The smallest IP packets with a whole TCP header, without and with an IPv6 fragment header. */
#define TG_WHOLE_TCP4 40
#define TG_WHOLE_TCP6 68

/* Asks for the socket of a packet that came in; TG_NOT_ASKED where sockets say nothing. */
static __always_inline __u32 tg_ask(void *ctx, const struct tg_meeting *meeting, int by_xdp)
{
	if (!by_xdp || tg_is_mirror)
		return TG_NOT_ASKED;
	return tg_tcp_socket(ctx, meeting->packet, 0);
}

static __always_inline int tg_is_connected(__u32 state)
{
	return state != TG_NO_SOCKET && state != TG_LISTEN && state != TG_NEW_SYN_RECV &&
	       state != TG_TIME_WAIT && state != TG_NOT_ASKED;
}

/* The contact of a place has come to this. */
static __noinline void tg_settle(struct tg_meeting *meeting, __u32 told, __u32 by_sender,
				      __u32 proven)
{
	const struct tg_packet *packet = meeting->packet;
	struct tg_place *place = meeting->place;
	__u32 is_quiet = place->flags & TG_QUIET;

	place->changed = tg_units();
	place->progress = told == TG_TOLD_SUCCESS ? TG_SETTLED : TG_CLOSED;
	if (told == TG_TOLD_SUCCESS) {
		if (tg_guard_ports && by_sender && proven)
			tg_vouch(((const __u64 *)packet->source)[0], ((const __u64 *)packet->source)[1],
				 place->changed);
		if (by_sender)
			tg_reach(packet->source, packet->destination, packet->destination_port,
				 packet->transport);
		else
			tg_reach(packet->destination, packet->source, packet->source_port,
				 packet->transport);
	} else if (is_quiet) {
		return;
	}
	tg_tell(meeting, told, by_sender, proven, TG_NOT_ASKED);
}

/* Begins what a packet begins: a connection, or an exchange of datagrams. */
static __noinline void tg_begin(void *ctx, struct tg_meeting *meeting, int by_xdp)
{
	const struct tg_packet *packet = meeting->packet;
	__u32 now = tg_units();
	__u32 is_followed = packet->transport == TG_TCP && tg_is_followed(packet->destination_port);
	__u32 progress = TG_TRIED;
	__u32 flags = tg_begun(meeting, 1);
	__u32 socket = TG_NOT_ASKED;

	if (is_followed) {
		flags |= TG_FOLLOWED;
	} else {
		__u64 mark = tg_contact_mark(packet->source, packet->destination,
					     packet->destination_port, packet->transport);
		__u32 index;
		struct tg_place *met = tg_find(mark, &index);

		if (met && now - met->changed <= TG_STALE) {
			flags |= TG_QUIET;
			if (met->progress == TG_REACHED)
				progress = TG_SETTLED;
		} else {
			met = tg_claim(mark, &index, now);
			if (met)
				met->progress = TG_MET;
		}
	}
	if (!(flags & TG_QUIET) && !tg_may_tell(packet->source, bpf_ktime_get_ns())) {
		flags |= TG_QUIET;
		progress = TG_SETTLED;
	}
	meeting->place = tg_claim(meeting->mark, &meeting->index, now);
	if (!meeting->place)
		return;
	meeting->place->progress = progress;
	meeting->place->flags = flags;
	if (flags & TG_QUIET)
		return;
	if (packet->transport == TG_TCP && !tg_sees_replies)
		socket = tg_ask(ctx, meeting, by_xdp);
	tg_tell(meeting, TG_TOLD_ATTEMPT, 1, 0, socket);
}

/* A connection that is of no interest: it is another host's, our own, or was there before us. */
static __always_inline void tg_know(struct tg_meeting *meeting, __u32 by_sender)
{
	meeting->place = tg_claim(meeting->mark, &meeting->index, tg_units());
	if (!meeting->place)
		return;
	meeting->place->progress = TG_SETTLED;
	meeting->place->flags = TG_QUIET | tg_begun(meeting, by_sender);
}

static __always_inline void tg_end(struct tg_meeting *meeting, __u32 by_initiator)
{
	struct tg_place *place = meeting->place;
	__u32 is_told = (place->flags & (TG_FOLLOWED | TG_QUIET)) == TG_FOLLOWED;

	place->progress = TG_CLOSED;
	place->changed = tg_units();
	if (is_told)
		tg_tell(meeting, TG_TOLD_END, by_initiator, 0, TG_NOT_ASKED);
}

static __always_inline void tg_on_reset(void *ctx, struct tg_meeting *meeting, int by_xdp)
{
	struct tg_place *place = meeting->place;
	__u32 by_initiator, state;

	if (!place) {
		state = tg_ask(ctx, meeting, by_xdp);
		if (state != TG_NEW_SYN_RECV ||
		    !tg_is_first(meeting->packet, meeting->packet->destination_port, TG_TCP, tg_units()) ||
		    !tg_may_tell(meeting->packet->source, bpf_ktime_get_ns()))
			return;
		tg_tell(meeting, TG_TOLD_REFUSED, 1, 1, state);
		return;
	}
	by_initiator = !(place->flags & TG_FROM_LOW) == !meeting->from_low;
	switch (place->progress) {
	case TG_TRIED:
		if (!by_initiator) {
			tg_settle(meeting, TG_TOLD_REFUSED, 0, 0);
			return;
		}
		if (tg_sees_replies)
			return;
		state = tg_ask(ctx, meeting, by_xdp);
		if (state == TG_NEW_SYN_RECV)
			tg_settle(meeting, TG_TOLD_REFUSED, 1, 1);
		else if (tg_is_connected(state))
			tg_settle(meeting, TG_TOLD_SUCCESS, 1, 1);
		return;
	case TG_ANSWERED:
		/* Half open, and given up by who began it; or refused after all. */
		tg_settle(meeting, TG_TOLD_REFUSED, by_initiator, by_initiator);
		return;
	case TG_PROBED:
		if (by_initiator)
			return;
		place->progress = TG_CLOSED;
		place->changed = tg_units();
		tg_tell(meeting, TG_TOLD_ACK_PROBE, 0, 0, TG_NOT_ASKED);
		return;
	case TG_SETTLED:
		tg_end(meeting, by_initiator);
	}
}

/* The first ACK of a connection that is not known: from before the program, or to nobody. */
static __always_inline void tg_on_unknown_ack(void *ctx, struct tg_meeting *meeting, __u32 is_bare,
					      int by_xdp)
{
	const struct tg_packet *packet = meeting->packet;
	__u32 state = tg_ask(ctx, meeting, by_xdp);

	if (tg_is_connected(state)) {
		/* Without a listener it is this host that began it. */
		if (tg_tcp_socket(ctx, packet, 1) != TG_LISTEN) {
			tg_know(meeting, 0);
			return;
		}
		tg_know(meeting, 1);
		if (meeting->place && tg_may_tell(packet->source, bpf_ktime_get_ns())) {
			meeting->place->flags &= ~TG_QUIET;
			if (tg_is_followed(packet->destination_port))
				meeting->place->flags |= TG_FOLLOWED;
			tg_settle(meeting, TG_TOLD_SUCCESS, 1, 1);
		}
		return;
	}
	if (state == TG_NEW_SYN_RECV) {
		tg_know(meeting, 1);
		if (meeting->place)
			meeting->place->progress = TG_ANSWERED;
		return;
	}
	tg_know(meeting, 1);
	if (!is_bare || state == TG_NOT_ASKED || state == TG_TIME_WAIT || !meeting->place)
		return;
	if (!tg_is_first(packet, packet->destination_port, TG_TCP | 0x100, tg_units()) ||
	    !tg_may_tell(packet->source, bpf_ktime_get_ns()))
		return;
	meeting->place->progress = TG_PROBED;
	tg_tell(meeting, TG_TOLD_STRAY_ACK, 1, 0, state);
}

/* A segment of the initiator's that carries an ACK, while the outcome is open. */
static __always_inline void tg_on_first_ack(void *ctx, struct tg_meeting *meeting, __u32 acknowledged,
					    int by_xdp)
{
	struct tg_place *place = meeting->place;
	__u32 state;

	if (place->flags & TG_NUMBERED) {
		/* Only who has seen the SYN-ACK knows what to acknowledge. */
		if (acknowledged == place->number)
			tg_settle(meeting, TG_TOLD_SUCCESS, 1, 1);
		return;
	}
	/* Where replies are seen and there was none, an ACK proves nothing. */
	if (tg_sees_replies && place->progress == TG_TRIED)
		return;
	state = tg_ask(ctx, meeting, by_xdp);
	if (tg_is_connected(state))
		tg_settle(meeting, TG_TOLD_SUCCESS, 1, 1);
	else if (state == TG_NEW_SYN_RECV)
		place->progress = TG_ANSWERED;
}

static __always_inline void tg_on_fin(struct tg_meeting *meeting)
{
	struct tg_place *place = meeting->place;
	__u32 both = TG_FIN_LOW | TG_FIN_HIGH;

	place->flags |= meeting->from_low ? TG_FIN_LOW : TG_FIN_HIGH;
	/* Of one direction alone the first FIN is all there is to see. */
	if (!tg_sees_replies || (place->flags & both) == both)
		tg_end(meeting, !(place->flags & TG_FROM_LOW) == !meeting->from_low);
}

static __always_inline void tg_on_ack(void *ctx, struct tg_meeting *meeting,
				      const struct tg_cursor *cursor, int by_xdp)
{
	const struct tg_packet *packet = meeting->packet;
	struct tg_place *place = meeting->place;
	__u32 acknowledged, by_initiator, payload;
	__u8 *bytes;

	if (!tg_at(cursor, 14, &bytes))
		return;
	if (!place) {
		payload = cursor->limit - cursor->at - (bytes[12] >> 4) * 4;
		if (meeting->outward)
			tg_know(meeting, 1);
		else
			tg_on_unknown_ack(ctx, meeting,
					  payload == 0 && !(packet->tcp_flags & TG_FIN), by_xdp);
		return;
	}
	if (place->flags & TG_FOLLOWED)
		__sync_fetch_and_add(meeting->from_low ? &place->low_bytes : &place->high_bytes,
				     packet->ip_bytes);
	if (place->progress == TG_SETTLED) {
		if (packet->tcp_flags & TG_FIN)
			tg_on_fin(meeting);
		return;
	}
	by_initiator = !(place->flags & TG_FROM_LOW) == !meeting->from_low;
	if (by_initiator && tg_is_open(place)) {
		acknowledged = (__u32)tg_be16(bytes + 8) << 16 | tg_be16(bytes + 10);
		tg_on_first_ack(ctx, meeting, acknowledged, by_xdp);
	} else if (!by_initiator && place->progress == TG_PROBED) {
		/* It was a connection after all. */
		place->progress = TG_SETTLED;
	}
}

static __always_inline void tg_on_syn_ack(struct tg_meeting *meeting, const struct tg_cursor *cursor)
{
	struct tg_place *place = meeting->place;
	__u8 *bytes;

	if (!place) {
		/* Of what this host began, unseen. */
		tg_know(meeting, 0);
		return;
	}
	if (!tg_at(cursor, 8, &bytes) || !tg_is_open(place) || !(place->flags & TG_FROM_LOW) == !meeting->from_low)
		return;
	place->progress = TG_ANSWERED;
	place->number = ((__u32)tg_be16(bytes + 4) << 16 | tg_be16(bytes + 6)) + 1;
	place->flags |= TG_NUMBERED;
}

static __always_inline int tg_are_odd(__u32 flags)
{
	if (flags & TG_SYN)
		return !!(flags & (TG_FIN | TG_RST));
	return !(flags & (TG_RST | TG_ACK));
}

static __always_inline void tg_on_tcp(void *ctx, struct tg_meeting *meeting,
				      const struct tg_cursor *cursor, int by_xdp)
{
	const struct tg_packet *packet = meeting->packet;
	struct tg_place *place = meeting->place;
	__u32 flags = packet->tcp_flags & (TG_FIN | TG_SYN | TG_RST | TG_ACK);

	if (tg_are_odd(flags)) {
		if (tg_may_tell(packet->source, bpf_ktime_get_ns()))
			tg_tell(meeting, TG_TOLD_ODD_FLAGS, 1, 0, TG_NOT_ASKED);
		return;
	}
	if (flags & TG_RST) {
		tg_on_reset(ctx, meeting, by_xdp);
	} else if (flags == TG_SYN) {
		if (!place || place->progress == TG_CLOSED ||
		    (!tg_is_open(place) && tg_units() - place->changed > TG_REUSED))
			tg_begin(ctx, meeting, by_xdp);
	} else if (flags & TG_SYN) {
		tg_on_syn_ack(meeting, cursor);
	} else {
		tg_on_ack(ctx, meeting, cursor, by_xdp);
	}
}

/* Whoever writes to a group expects no answer. */
static __always_inline int tg_is_for_one(const struct tg_packet *packet)
{
	const __u8 *to = (const __u8 *)packet->destination;

	if (packet->family == 4)
		return to[0] < 224 && to[3] != 255;
	return to[0] != 0xff;
}

static __always_inline void tg_on_datagram(void *ctx, struct tg_meeting *meeting, int by_xdp)
{
	struct tg_place *place = meeting->place;

	if (!place || place->progress == TG_CLOSED) {
		if (tg_is_for_one(meeting->packet))
			tg_begin(ctx, meeting, by_xdp);
		return;
	}
	if (place->progress == TG_TRIED && !(place->flags & TG_FROM_LOW) != !meeting->from_low)
		tg_settle(meeting, TG_TOLD_SUCCESS, 0, 0);
}

/*
 * An ICMP error quotes the packet that did not get through. That takes the place of the error, and the cursor
 * moves: the stack is small.
 */
static __noinline void tg_on_error(struct tg_meeting *meeting, struct tg_packet *packet,
				   struct tg_cursor *cursor)
{
	struct tg_place *place;
	__u8 *bytes;

	cursor->at += 8;
	if (packet->family == 4) {
		if (!tg_at(cursor, 20, &bytes) || bytes[0] >> 4 != 4 || (bytes[0] & 15) < 5 ||
		    (tg_be16(bytes + 6) & TG_FRAGMENT_OFFSET))
			return;
		packet->transport = bytes[9];
		__builtin_memcpy(packet->source, bytes + 12, 4);
		__builtin_memcpy(packet->destination, bytes + 16, 4);
		cursor->at += (bytes[0] & 15) * 4;
	} else {
		if (!tg_at(cursor, 40, &bytes) || bytes[0] >> 4 != 6)
			return;
		packet->transport = bytes[6];
		__builtin_memcpy(packet->source, bytes + 8, 16);
		__builtin_memcpy(packet->destination, bytes + 24, 16);
		cursor->at += 40;
	}
	if (!tg_at(cursor, 4, &bytes) ||
	    (packet->transport != TG_TCP && packet->transport != TG_UDP))
		return;
	packet->source_port = tg_be16(bytes);
	packet->destination_port = tg_be16(bytes + 2);
	tg_mark(meeting, (__u64 *)packet->source, (__u64 *)packet->destination, packet->source_port,
		packet->destination_port, packet->transport);
	place = tg_find(meeting->mark, &meeting->index);
	meeting->place = place;
	if (!place)
		return;
	if (!(place->flags & TG_FROM_LOW) == !meeting->from_low) {
		if (place->progress == TG_TRIED && !tg_goes_along(meeting))
			tg_settle(meeting, TG_TOLD_REFUSED, 1, 0);
	} else if (packet->transport == TG_UDP && place->progress == TG_SETTLED &&
		   !(place->flags & TG_QUIET) && (tg_is_mirror || tg_goes_along(meeting))) {
		/* Who asked has nobody who waits for the answer. */
		tg_settle(meeting, TG_TOLD_REFUSED, 0, 1);
	}
}

static __always_inline void tg_on_message(struct tg_meeting *meeting, struct tg_packet *packet,
					  struct tg_cursor *cursor)
{
	__u32 type = packet->icmp_type;
	__u32 is_v4 = packet->transport == TG_ICMP;

	if (type == (is_v4 ? 8 : 128)) {
		if (tg_is_first(packet, 0, packet->transport, tg_units()) &&
		    tg_may_tell(packet->source, bpf_ktime_get_ns()))
			tg_tell(meeting, TG_TOLD_ECHO, 1, 0, TG_NOT_ASKED);
		return;
	}
	/* Code 4 asks for smaller packets. */
	if (type == (is_v4 ? 3 : 1) && !(is_v4 && packet->icmp_code == 4))
		tg_on_error(meeting, packet, cursor);
}

/* Looks at a packet whose headers were read. */
static __always_inline void tg_look(void *ctx, struct tg_cursor *cursor,
				    struct tg_packet *packet, int by_xdp)
{
	struct tg_meeting meeting = { .packet = packet, .outward = !by_xdp };

	if (tg_hides(packet) ||
	    (packet->transport == TG_TCP && packet->fragment == TG_FIRST &&
	     packet->ip_bytes < (packet->family == 4 ? TG_WHOLE_TCP4 : TG_WHOLE_TCP6))) {
		if (tg_may_tell(packet->source, bpf_ktime_get_ns()))
			tg_tell(&meeting, TG_TOLD_SPLIT_HEADER, 1, 0, TG_NOT_ASKED);
		return;
	}
	if (packet->layer4 != TG_READ)
		return;
	switch (packet->transport) {
	case TG_TCP:
	case TG_UDP:
		/* Of datagrams only replies tell anything. */
		if (packet->transport == TG_UDP && !tg_sees_replies)
			return;
		tg_mark(&meeting, (const __u64 *)packet->source, (const __u64 *)packet->destination,
			packet->source_port, packet->destination_port, packet->transport);
		meeting.place = tg_find(meeting.mark, &meeting.index);
		if (meeting.place && !(meeting.place->flags & TG_FROM_LOW) != !meeting.from_low &&
		    tg_goes_along(&meeting))
			return;
		if (packet->transport == TG_TCP)
			tg_on_tcp(ctx, &meeting, cursor, by_xdp);
		else
			tg_on_datagram(ctx, &meeting, by_xdp);
		return;
	case TG_ICMP:
	case TG_ICMPV6:
		tg_on_message(&meeting, packet, cursor);
	}
}

#endif
