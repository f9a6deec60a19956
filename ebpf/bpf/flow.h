/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is counted of flows: key and value of tg_flows, and the account of all packets. src/flows.rs has the
 * same layout, and a test compares the two by the object's BTF.
 */
#ifndef TIDEGATE_FLOW_H
#define TIDEGATE_FLOW_H

#include <linux/types.h>

/* What the two ports of a key are. */
enum tg_key_kind {
	TG_KEY_PORTLESS, /* none: later fragments, transports without ports, headers that are cut off */
	TG_KEY_PORTS,
	TG_KEY_PAIRED,	 /* the type of an ICMP message and that of its answer */
	TG_KEY_ONE_WAY,	 /* type and code of one without an answer: each direction is a flow, low is who sent it */
};

/* The two ends of a flow, the lower one first, and what tells it from others with the same ends. */
struct tg_flow_key {
	__u32 low[4]; /* in network order; IPv4: the first */
	__u32 high[4];
	__u16 low_port; /* in host order */
	__u16 high_port;
	__u32 vlans; /* as tg_packet.vlans */
	__u8 transport;
	__u8 family; /* 4 or 6 */
	__u8 kind;
	__u8 reserved;
};

/* Bits of tg_flow.seen above TCP's 12 control bits: what an end has sent. */
#define TG_SEEN_SYN (1 << 12)	  /* a SYN without ACK */
#define TG_SEEN_SYN_ACK (1 << 13)
#define TG_SEEN_MORE (1 << 14)	  /* a segment with neither SYN nor RST */
#define TG_SEEN_PAYLOAD (1 << 15) /* of TCP */
#define TG_SEEN_RESET (1 << 16)	  /* a RST before both ends had sent a FIN */
#define TG_SEEN_DAMAGED (1 << 17)
#define TG_SEEN_LATER (1 << 18)	  /* a later fragment */
#define TG_SEEN_PLACED (1 << 19)  /* nothing that was sent: its tg_flow.start is known */
#define TG_SEEN_ANSWERS (1 << 20) /* the flow's first packet, a datagram whose content answers */

/* Since the flow began; of pairs the low end is the first. */
struct tg_flow {
	__u64 first_ns; /* CLOCK_MONOTONIC */
	__u64 last_ns;	/* the same; late by a tick at most beyond the first packets of an end */
	__u64 packets[2];
	__u64 bytes[2]; /* of IP */
	__u32 seen[2];
	__u32 start[2]; /* of TCP: the number of the SYN, or that before the first byte */
	/* A SYN with another number, which begins another connection once it is answered. */
	__u64 asked_ns;	   /* when */
	__u32 asked;	   /* its number */
	__u16 asked_bytes; /* of IP */
	__u8 asked_by;	   /* the end that sent it, counted from 1; 0: there is none */
	__u8 from_low;	   /* not 0: the low end sent the first packet */
	__u8 icmp_code;	   /* of the first packet */
	__u8 ending;	   /* not 0: user space takes it out, and nothing more is counted here */
	__u8 reserved[6];
};

/* A flow that is over because a packet began another one of its key, which has its entry now: on tg_past. */
struct tg_past {
	struct tg_flow_key key;
	__u32 reserved;
	struct tg_flow flow;
};

/* What became of packets, and of tries to begin a flow; one for each processor. */
struct tg_account {
	__u64 packets; /* all that were to be counted */
	__u64 bytes;
	__u64 unattributed; /* of these, those that no flow has */
	__u64 unattributed_bytes;
	__u64 oversized; /* frames longer than the MTU: several packets that were joined on the way in */
	__u64 segmented; /* frames that the card cuts up: counted as the packets they become */
	__u64 cut;	 /* packets that claim more bytes than their frame has */
	__u64 ending;	 /* packets of a flow that was just being taken out; they are unattributed */
	__u64 busy;	 /* tries to begin a flow that met EBUSY */
	__u64 full;	 /* E2BIG */
	__u64 memory;	 /* ENOMEM */
	__u64 exists;	 /* EEXIST: another processor was first */
	__u64 other;
	__u64 merged; /* connections that were counted to the former one of their ends, as tg_past was full */
};

#endif
