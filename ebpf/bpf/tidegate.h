/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel's side and user space share: the layout of map keys, map values and events.
 * src/abi.rs has the same, and a test compares the two by the object's BTF. Whatever changes here
 * changes the folder of the pinned maps (see src/layout.rs).
 */
#ifndef TIDEGATE_H
#define TIDEGATE_H

#include <linux/types.h>

/* What became of a packet; indexes tg_stats. */
enum tg_outcome {
	TG_PASS,	  /* nothing is said about its source */
	TG_DROP_ADDRESS,  /* a verdict on its address */
	TG_DROP_NETWORK,  /* a verdict on a network its address is in */
	TG_DROP_RATE,	  /* above the rate that a verdict leaves it */
	TG_DROP_GUARD,	  /* a SYN that the guard holds off, by itself or by its verdict */
	TG_WOULD_DROP,	  /* as the four above, but observed only */
	TG_WITHIN_RATE,	  /* a verdict limits its source, and it is below that */
	TG_OUT_OF_SCOPE,  /* a verdict on its source is about other packets */
	TG_ALLOWED,	  /* a verdict would drop it, the allow list does not */
	TG_EXEMPT,	  /* a verdict would drop it, but its kind always passes */
	TG_OWN_SESSION,	  /* a verdict would drop it, but this host began the session */
	TG_FAIL_OPEN,	  /* a verdict would drop it, but the daemon is silent */
	TG_NOT_IP,	  /* neither IPv4 nor IPv6 */
	TG_MALFORMED,	  /* its headers contradict themselves or the frame; passes */
	TG_FRAGMENT,	  /* a part of a packet; counted beside what became of it */
	TG_OUTCOMES,
};

/* Indexes tg_state. Each is written alone, so that two writers don't undo each other's work. */
enum tg_word {
	TG_HAS_NET4,	/* not 0: the map has entries, so a packet is looked up there */
	TG_HAS_NET6,
	TG_HAS_ALLOW4,
	TG_HAS_ALLOW6,
	TG_ATTACHED,	/* how the program is attached (1 native, 2 generic); not read here */
	TG_MODE,	/* 1 observe, 2 enforce: what the daemon was told; not read here */
	TG_CHANGES,	/* counted up by whoever changes verdicts beside the daemon; not read here */
	TG_LAYOUT,	/* names the layout of tg_block, so that an upgrade knows what it reads; not read here */
	TG_WORDS,
};

/* tg_block.by: SYNs alone are meant. */
#define TG_BY_GUARD 1

enum tg_action { TG_DROP, TG_RATE_LIMIT };
enum tg_scope { TG_ALL, TG_NEW };

/* How far parsing came. */
enum tg_result { TG_OK, TG_RESULT_NOT_IP, TG_RESULT_MALFORMED, TG_RESULT_TOO_DEEP };
enum tg_fragment { TG_WHOLE, TG_FIRST, TG_LATER };
enum tg_layer4 {
	TG_OPAQUE, /* nothing that could be read */
	TG_PORTS,  /* ports, and no more of TCP */
	TG_READ,   /* ports and TCP's flags, or ICMP's type and code */
};

/* What is wrong with headers, beyond the beginning of the IP header. */
enum tg_damage {
	TG_CONTRADICTS = 1, /* they contradict themselves, or are cut off */
	TG_CUT = 2,	    /* the IP header claims more bytes than the frame has */
};

struct tg_count {
	__u64 packets;
	__u64 bytes;
};

/* What the daemon alone writes, as a whole: the one entry of tg_daemon. */
struct tg_daemon {
	__u64 heartbeat_ns;	/* CLOCK_MONOTONIC: when it last said that it lives */
	__u64 clock_ns;		/* CLOCK_MONOTONIC at tick 0, modulo 2^64 */
	__u32 allow_generation; /* counted up when the allow list has changed; never 0 */
	__u32 fail_open_ms;	/* silence after which everything passes, for whoever asks; 0: never */
};

/* tg_block.hits: packets from this bit on, bytes below; it is carried over when the highest bit of either is set. */
#define TG_HIT_SHIFT 40
#define TG_HIT_FULL (1ULL << 63 | 1ULL << (TG_HIT_SHIFT - 1))

/* A verdict in force: the value of tg_block4, tg_block6, tg_net4 and tg_net6. */
struct tg_block {
	/* What a packet is compared with and counted in, together: with many verdicts each line is a miss. */
	__u64 deadline_ns; /* CLOCK_MONOTONIC; 0: none */
	__u64 hits;	   /* packets and bytes that are not in the two below yet, in one word */
	__u32 unlisted;	   /* the generation of the allow list in which its address was not on it; 0: none */
	__u16 port;	   /* in host order; 0: all */
	__u8 action;
	__u8 scope;
	__u8 enforce; /* not 0: packets are dropped; else they would have been */
	__u8 prefix;  /* length of the network: a trie finds wider ones too */
	__u8 by;      /* who decided; here only whether the guard did. What follows has no meaning where none is told */
	__u8 score;
	__u32 offence;
	__u64 bucket_ns; /* when the bucket of a rate limit is empty; 0: it has not been used */
	__u64 packets;	 /* dropped, or would have been */
	__u64 bytes;	 /* their IP bytes */
	__u64 since_ns;	 /* since the epoch: when user space put it here */
	__u64 ttl_ns;	 /* 0: none */
	__u8 id[16];	 /* names the verdict in records and in the log */
};

struct tg_net4_key {
	__u32 prefix;
	__u8 address[4];
};

struct tg_net6_key {
	__u32 prefix;
	__u8 address[16];
};

/* A half of tg_packet.vlans: the id, and that there is one. */
#define TG_TAG_ID 0x0fffU
#define TG_TAG_PRESENT 0x8000U

/* What was read of a packet. */
struct tg_packet {
	__u32 source[4]; /* in network order; IPv4: the first */
	__u32 destination[4];
	__u32 ip_bytes;	    /* header and payload, no more than the frame has */
	__u16 source_port;  /* in host order */
	__u16 destination_port;
	__u16 tcp_flags; /* 12 bits */
	__u8 result;
	__u8 family; /* 4 or 6 */
	__u8 transport;
	__u8 fragment;
	__u8 layer4;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 hop_limit;
	__u8 damaged; /* bits of enum tg_damage; 0: none */
	__u8 tags;    /* VLAN tags */
	__u32 vlans;  /* the outer tag in the lower half, the inner in the upper; without those of id 0 */
};

#endif
