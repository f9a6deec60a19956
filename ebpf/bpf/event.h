/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the program tells user space, by a ring, and what it keeps of connections meanwhile. src/evidence.rs
 * has the same layout, and a test compares the two by the object's BTF.
 */
#ifndef TIDEGATE_EVENT_H
#define TIDEGATE_EVENT_H

#include <linux/types.h>

/* What an event says about `source` and its contact with `destination`. */
enum tg_told {
	TG_TOLD_ATTEMPT,      /* it tries to reach it: a SYN, the first datagram */
	TG_TOLD_SUCCESS,      /* the destination took part */
	TG_TOLD_REFUSED,      /* the destination refused; with `proven` the source gave up, half open */
	TG_TOLD_ODD_FLAGS,    /* control bits that no sane stack sends */
	TG_TOLD_SPLIT_HEADER, /* a TCP header split over fragments, or a transport behind too many headers */
	TG_TOLD_STRAY_ACK,    /* an ACK that meets no connection of this host */
	TG_TOLD_ACK_PROBE,    /* the destination answered such an ACK by a RST */
	TG_TOLD_ECHO,	      /* an ICMP echo request */
	TG_TOLD_END,	      /* a connection that had succeeded is over; on followed ports only */
	TG_TOLD_HELD,	      /* the guard holds the source off; `place` is of tg_suspects */
	TG_TOLD_LIMITED,      /* the guard drops what is above the rate of SYNs; the same */
};

struct tg_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 mark;    /* of the place, to see whether it is still of this connection */
	__u8 source[16]; /* IPv4: the first four bytes */
	__u8 destination[16];
	__u32 place;	 /* index of tg_places; of a hold: of tg_suspects */
	__u16 source_port; /* in host order */
	__u16 destination_port;
	__u16 tcp_flags;
	__u8 told;
	__u8 family; /* 4 or 6 */
	__u8 transport;
	__u8 proven; /* not 0: the source is at its address */
	__u8 socket; /* state of the socket that a SYN met; 255: it was not looked for */
	__u8 outward; /* not 0: this host sent the packet */
};

/* How far a connection came. */
enum tg_progress {
	TG_FREE,
	TG_TRIED,    /* no answer yet */
	TG_ANSWERED, /* half open; or there are datagrams both ways */
	TG_SETTLED,  /* what came of it is told, or is not to be */
	TG_PROBED,   /* an ACK to nobody */
	TG_CLOSED,   /* refused, or over */
	TG_MET,	     /* of a first contact, not of a connection: it was told */
	TG_REACHED,  /* the same, and it succeeded */
};

/* Bits of `flags`. */
#define TG_FROM_LOW 1  /* the low end began it */
#define TG_QUIET 2     /* its attempt was not told: only a success is */
#define TG_FOLLOWED 4  /* its bytes are counted, its end is told */
#define TG_NUMBERED 8  /* `number` is that of the answer */
#define TG_FIN_LOW 16  /* the low end has sent its FIN */
#define TG_FIN_HIGH 32
#define TG_OUTWARD 64   /* what began it went out of this host; not of a mirror */

/*
 * A place for a connection, or for the first contact of a source with a (destination, port): whoever comes
 * later takes it over. Nothing is said of a connection whose place was taken.
 */
struct tg_place {
	__u64 mark;	   /* keyed hash of who and whom; 0: free */
	__u64 low_bytes;   /* IP bytes that the low end sent, if followed */
	__u64 high_bytes;
	__u32 number;	   /* sequence number of the SYN-ACK, or what is to acknowledge it */
	__u32 began;	   /* CLOCK_MONOTONIC in units of 2^20 ns */
	__u32 changed;	   /* the same, of its progress */
	__u8 progress;
	__u8 flags;
	__u8 reserved[2];
};

/* What became of what was to be told; indexes nothing, one for each processor. */
struct tg_tally {
	__u64 produced;	 /* events that were to go into the ring */
	__u64 lost;	 /* of these, those that found it full */
	__u64 by_source; /* not told: its source has told too much */
	__u64 by_cpu;	 /* not told: the processor has */
	__u64 displaced; /* connections whose outcome was open when their place was taken */
	__u64 evicted;	 /* sources that the guard watched, or was to, when there was no place */
	__u64 unheld;	 /* holds and limits that were not made, or not told, because there were too many */
};

/* A source that the guard watches. */
struct tg_suspect {
	__u64 mark;	  /* keyed hash of its address; 0: nobody is watched here */
	__u64 held_ns;	  /* CLOCK_MONOTONIC: its SYNs are dropped until then; 0: they are not */
	__u64 bucket_ns;  /* when its bucket of SYNs is empty */
	__u64 limited_ns; /* until then it is not told again that it is above the rate */
	__u64 packets;	  /* withheld, and of no verdict yet */
	__u64 bytes;	  /* their IP bytes */
	__u32 began;	  /* its ports are counted since, in units of 2^20 ns */
	__u32 seen;	  /* its last SYN, the same */
	__u32 unlisted;	  /* the generation of the allow list that did not have it */
	__u16 count;	  /* bits in `ports` */
	__u8 told;	  /* not 0: its hold was told */
	__u8 reserved;
	__u64 ports[16];
};

#endif
