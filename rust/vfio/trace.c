// SPDX-License-Identifier: GPL-2.0-only
/*
 * The trace events, and functions that Rust code can call for them.
 */

#define CREATE_TRACE_POINTS
#include <rvfio/trace.h>

#include <rvfio/helpers.h>

void rvfio_trace_state(struct device *dev, u32 protocol, u32 from, u32 to)
{
	trace_rvfio_state(dev, protocol, from, to);
}

void rvfio_trace_buffer(struct device *dev, bool load, u64 bytes)
{
	trace_rvfio_buffer(dev, load, bytes);
}

void rvfio_trace_dirty(struct device *dev, u64 iova, u64 bytes)
{
	trace_rvfio_dirty(dev, iova, bytes);
}

void rvfio_trace_dirty_query(struct device *dev, u64 pages)
{
	trace_rvfio_dirty_query(dev, pages);
}

void rvfio_trace_private_dma(struct device *dev, s64 microseconds, int error)
{
	trace_rvfio_private_dma(dev, microseconds, error);
}

void rvfio_trace_unmap(struct device *dev, u64 iova, u64 bytes, u32 round,
		       s64 microseconds)
{
	trace_rvfio_unmap(dev, iova, bytes, round, microseconds);
}

void rvfio_trace_refused(struct device *dev, u8 bar, u64 offset, u64 value,
			 int error)
{
	trace_rvfio_refused(dev, bar, offset, value, error);
}
