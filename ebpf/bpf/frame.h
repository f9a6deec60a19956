/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A frame as it is reported, and what became of those that were to be. src/packets.rs has the same layout, and a
 * test compares the two by the object's BTF.
 */
#ifndef TIDEGATE_FRAME_H
#define TIDEGATE_FRAME_H

#include <linux/types.h>

/* Of a frame, so much is reported: what the source `tshark` captures of one by default. A multiple of eight. */
#define TG_FRAME_BYTES 128

struct tg_frame {
	__u64 time_ns;	/* CLOCK_MONOTONIC */
	__u32 length;	/* of all of it, without its check sequence */
	__u16 captured; /* bytes of it that follow, from its beginning; behind them there is anything */
	__u8 outward;	/* not 0: this host sent it */
	__u8 reserved;
	__u8 bytes[TG_FRAME_BYTES];
};

/* What became of frames that passed, one for each processor. */
struct tg_sampled {
	__u64 seen;	   /* all of them */
	__u64 passed_over; /* of these, those that were not chosen */
	__u64 chosen;	   /* those that were, and were to go into the ring */
	__u64 lost;	   /* of the chosen, those that found it full */
	__u32 left;	   /* so many until the next one is chosen; 0: that is to be drawn */
	__u32 reserved;
};

#endif
