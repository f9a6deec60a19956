/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whether this host began the session that a packet belongs to: its socket is connected, and nobody
 * listens on its port. A socket that was accepted has a listener beside it on the same port.
 *
 * It sees the sockets of the network namespace that the interface is in: of what is forwarded to
 * containers it knows nothing.
 */
#ifndef TIDEGATE_SESSION_H
#define TIDEGATE_SESSION_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "parse.h"

/* States of sockets, as include/net/tcp_states.h numbers them. */
enum { TG_ESTABLISHED = 1, TG_LISTEN = 10, TG_NEW_SYN_RECV = 12, TG_NO_SOCKET = 0 };

/* The tuple of a packet; with `anybody` that of any other sender. Its size is returned. */
static __always_inline __u32 tg_tuple(struct bpf_sock_tuple *tuple, const struct tg_packet *packet,
				      int anybody)
{
	__builtin_memset(tuple, 0, sizeof(*tuple));
	if (packet->family == 4) {
		if (!anybody) {
			__builtin_memcpy(&tuple->ipv4.saddr, packet->source, 4);
			tuple->ipv4.sport = bpf_htons(packet->source_port);
		}
		__builtin_memcpy(&tuple->ipv4.daddr, packet->destination, 4);
		tuple->ipv4.dport = bpf_htons(packet->destination_port);
		return sizeof(tuple->ipv4);
	}
	if (!anybody) {
		__builtin_memcpy(&tuple->ipv6.saddr, packet->source, 16);
		tuple->ipv6.sport = bpf_htons(packet->source_port);
	}
	__builtin_memcpy(&tuple->ipv6.daddr, packet->destination, 16);
	tuple->ipv6.dport = bpf_htons(packet->destination_port);
	return sizeof(tuple->ipv6);
}

/*
 * The state of the socket that takes this packet, or that of another sender; 0 if there is none. Two
 * functions, not inlined: the verifier wants one type of socket at each instruction that reads it.
 */
static __noinline __u32 tg_tcp_socket(struct xdp_md *ctx, const struct tg_packet *packet, int anybody)
{
	struct bpf_sock_tuple tuple;
	__u32 size = tg_tuple(&tuple, packet, anybody);
	struct bpf_sock *socket;
	__u32 state;

	/* A constant at each call: the verifier checks the room behind the pointer by it. */
	if (size == sizeof(tuple.ipv4))
		socket = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		socket = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return TG_NO_SOCKET;
	state = socket->state;
	bpf_sk_release(socket);
	return state;
}

static __noinline __u32 tg_udp_socket(struct xdp_md *ctx, const struct tg_packet *packet, int anybody)
{
	struct bpf_sock_tuple tuple;
	__u32 size = tg_tuple(&tuple, packet, anybody);
	struct bpf_sock *socket;
	__u32 state;

	if (size == sizeof(tuple.ipv4))
		socket = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		socket = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return TG_NO_SOCKET;
	state = socket->state;
	bpf_sk_release(socket);
	return state;
}

static __always_inline int tg_is_own_session(struct xdp_md *ctx, const struct tg_packet *packet)
{
	__u32 state;

	if (packet->layer4 == TG_OPAQUE)
		return 0;
	if (packet->transport == TG_TCP) {
		state = tg_tcp_socket(ctx, packet, 0);
		if (state == TG_NO_SOCKET || state == TG_LISTEN || state == TG_NEW_SYN_RECV)
			return 0;
		return tg_tcp_socket(ctx, packet, 1) != TG_LISTEN;
	}
	if (packet->transport != TG_UDP || tg_udp_socket(ctx, packet, 0) != TG_ESTABLISHED)
		return 0;
	return tg_udp_socket(ctx, packet, 1) == TG_NO_SOCKET;
}

#endif
