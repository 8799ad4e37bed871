/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace events of a device's migration: what the driver did, and what it refused.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM rvfio

#if !defined(RVFIO_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define RVFIO_TRACE_H

#include <linux/device.h>
#include <linux/tracepoint.h>
#include <linux/vfio.h>

/* The numbers are those of protocol() in rust/vfio/device/trace.rs; 0 is none. */
#define rvfio_show_protocol(protocol)					\
	__print_symbolic(protocol,					\
			 { 0, "none" },					\
			 { 1, "region-2018" },				\
			 { 2, "region-v1" },				\
			 { 3, "v2" })

#define rvfio_show_state(state)						\
	__print_symbolic(state,						\
			 { VFIO_DEVICE_STATE_ERROR, "ERROR" },		\
			 { VFIO_DEVICE_STATE_STOP, "STOP" },		\
			 { VFIO_DEVICE_STATE_RUNNING, "RUNNING" },	\
			 { VFIO_DEVICE_STATE_STOP_COPY, "STOP_COPY" },	\
			 { VFIO_DEVICE_STATE_RESUMING, "RESUMING" },	\
			 { VFIO_DEVICE_STATE_RUNNING_P2P, "RUNNING_P2P" }, \
			 { VFIO_DEVICE_STATE_PRE_COPY, "PRE_COPY" },	\
			 { VFIO_DEVICE_STATE_PRE_COPY_P2P, "PRE_COPY_P2P" })

/* The device has changed its state; protocol owns it, or owned it. */
TRACE_EVENT(rvfio_state,
	TP_PROTO(struct device *dev, u32 protocol, u32 from, u32 to),
	TP_ARGS(dev, protocol, from, to),
	TP_STRUCT__entry(
		__string(dev, dev_name(dev))
		__field(u32, protocol)
		__field(u32, from)
		__field(u32, to)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->protocol = protocol;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("%s protocol=%s from=%s to=%s", __get_str(dev),
		  rvfio_show_protocol(__entry->protocol),
		  rvfio_show_state(__entry->from),
		  rvfio_show_state(__entry->to))
);

/* The driver has handed out bytes of an image, or taken them (load). */
TRACE_EVENT(rvfio_buffer,
	TP_PROTO(struct device *dev, bool load, u64 bytes),
	TP_ARGS(dev, load, bytes),
	TP_STRUCT__entry(
		__string(dev, dev_name(dev))
		__field(bool, load)
		__field(u64, bytes)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->load = load;
		__entry->bytes = bytes;
	),
	TP_printk("%s %s bytes=%llu", __get_str(dev),
		  __entry->load ? "load" : "save", __entry->bytes)
);

/* The driver is about to tell the device to write guest memory, whoever tracks the pages. */
TRACE_EVENT(rvfio_dirty,
	TP_PROTO(struct device *dev, u64 iova, u64 bytes),
	TP_ARGS(dev, iova, bytes),
	TP_STRUCT__entry(
		__string(dev, dev_name(dev))
		__field(u64, iova)
		__field(u64, bytes)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->iova = iova;
		__entry->bytes = bytes;
	),
	TP_printk("%s iova=0x%llx bytes=%llu", __get_str(dev), __entry->iova,
		  __entry->bytes)
);

/* A query has reported dirty pages, of 4096 bytes each. */
TRACE_EVENT(rvfio_dirty_query,
	TP_PROTO(struct device *dev, u64 pages),
	TP_ARGS(dev, pages),
	TP_STRUCT__entry(
		__string(dev, dev_name(dev))
		__field(u64, pages)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->pages = pages;
	),
	TP_printk("%s pages=%llu", __get_str(dev), __entry->pages)
);

/* The device has read or written memory of the driver's. */
TRACE_EVENT(rvfio_private_dma,
	TP_PROTO(struct device *dev, s64 microseconds, int error),
	TP_ARGS(dev, microseconds, error),
	TP_STRUCT__entry(
		__string(dev, dev_name(dev))
		__field(s64, microseconds)
		__field(int, error)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->microseconds = microseconds;
		__entry->error = error;
	),
	TP_printk("%s microseconds=%lld error=%d", __get_str(dev),
		  __entry->microseconds, __entry->error)
);

/*
 * The user undoes a mapping with pages that were pinned for the device. The
 * container asks the driver to unpin them, and looks again. round counts these
 * calls in one system call of the user.
 */
TRACE_EVENT(rvfio_unmap,
	TP_PROTO(struct device *dev, u64 iova, u64 bytes, u32 round,
		 s64 microseconds),
	TP_ARGS(dev, iova, bytes, round, microseconds),
	TP_STRUCT__entry(
		__string(dev, dev_name(dev))
		__field(u64, iova)
		__field(u64, bytes)
		__field(u32, round)
		__field(s64, microseconds)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->iova = iova;
		__entry->bytes = bytes;
		__entry->round = round;
		__entry->microseconds = microseconds;
	),
	TP_printk("%s iova=0x%llx bytes=%llu round=%u microseconds=%lld",
		  __get_str(dev), __entry->iova, __entry->bytes,
		  __entry->round, __entry->microseconds)
);

/* A write to a trapped register failed or was refused. */
TRACE_EVENT(rvfio_refused,
	TP_PROTO(struct device *dev, u8 bar, u64 offset, u64 value, int error),
	TP_ARGS(dev, bar, offset, value, error),
	TP_STRUCT__entry(
		__string(dev, dev_name(dev))
		__field(u8, bar)
		__field(u64, offset)
		__field(u64, value)
		__field(int, error)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->bar = bar;
		__entry->offset = offset;
		__entry->value = value;
		__entry->error = error;
	),
	TP_printk("%s bar=%u offset=0x%llx value=0x%llx error=%d",
		  __get_str(dev), __entry->bar, __entry->offset,
		  __entry->value, __entry->error)
);

#endif /* RVFIO_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH rvfio
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
