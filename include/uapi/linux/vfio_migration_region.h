/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * VFIO migration region: the user space ABI of the migration-region design of
 * November 2018 ("[PATCH 1/5] VFIO KABI for migration interface", qemu-devel).
 *
 * The thread fixes the fields of the header, their order and their meaning.
 * It does not fix numbers: the rvfio project chose the region type and the
 * values of device_state below.  The thread calls the header struct
 * vfio_device_migration_info, a name that <linux/vfio.h> has used for another
 * structure since; here it is struct vfio_migration_region_header.
 *
 * The region begins with that structure.  That part is trapped: each access is
 * a read(2) or write(2) on the VFIO device and has a meaning of its own.  The
 * data section follows at data.offset.  It is page aligned.  A client can map
 * it with mmap(2) (the region's sparse-mmap capability names it), or read and
 * write it.  A mapping is filled once: if MADV_DONTNEED took pages from it, an
 * access to them is SIGBUS until they are mapped anew.
 *
 * An access to the header covers one whole field or several whole neighbouring
 * fields.  A 64-bit field may also be accessed as two 32-bit halves in
 * ascending order, and takes effect with the second.  All fields are little
 * endian.  Any other access, a value out of range, or a write to a field that
 * cannot be written in the current state fails with EINVAL and changes
 * nothing.  While another migration protocol owns the device, a write fails
 * with EBUSY, and so does a write of the guest to a register of a stopped
 * device.
 *
 * The data section holds one thing at a time: nothing, a buffer of device
 * state, or a dirty bitmap.  data.offset says where it lies, in every state,
 * and reading it has no effect.  data.size says how many bytes of the content
 * count.  By reading a field of pending, or writing device_state, the client
 * says that it is done with the content.  Writing dirty_pfns.total says the
 * same; the client can still copy a buffer until the query runs and the bitmap
 * replaces it.  If a buffer is staged after that, with the query still armed,
 * and the bitmap then replaces it, it has not been handed out: it is still
 * pending and is staged again.  Whatever the order of accesses, every byte of
 * the image is handed out once and every dirty page is reported once.
 *
 * An access to several fields has the effects of all of them in a fixed order:
 * first pending, then the query of dirty_pfns.copied, then data.size.  So the
 * access that runs a query reads the length of the bitmap as data.size.
 *
 * What an access asks of the device may fail as well: ETIMEDOUT if the device
 * does not stop in time, EINTR on a signal, ENOMEM without memory, ENODEV if
 * the device is gone.  The device is then in the state before, or in one on the
 * way.  A device that failed for good answers EIO until it is closed and opened
 * again, or reset; a reset does not help if it was cut off from memory.  If an
 * image is refused, the device is reset and stays in RESUME until the client
 * writes FAILED or CANCELLED.
 */
#ifndef _UAPI_LINUX_VFIO_MIGRATION_REGION_H
#define _UAPI_LINUX_VFIO_MIGRATION_REGION_H

#include <linux/types.h>

/* Type and subtype in the region's VFIO_REGION_INFO_CAP_TYPE capability. */
#define VFIO_REGION_TYPE_MIGRATION_2018		(1U << 30)
#define VFIO_REGION_SUBTYPE_MIGRATION_2018	1U

/**
 * enum vfio_device_migration_state - values of device_state
 *
 * @VFIO_MIGRATION_STATE_NONE: The device is stopped and no migration is under
 *	way: for a paused virtual machine.
 * @VFIO_MIGRATION_STATE_RUNNING: The device runs; the state after open and
 *	after VFIO_DEVICE_RESET.
 * @VFIO_MIGRATION_STATE_SETUP: The device runs, a save has begun, and the
 *	driver records the pages that the device writes from here on.  Does not
 *	follow NONE: the device of a paused virtual machine stays stopped and
 *	goes to STOPNCOPY.
 * @VFIO_MIGRATION_STATE_PRECOPY: The device runs and hands out what may go
 *	while it does.
 * @VFIO_MIGRATION_STATE_STOPNCOPY: The device is stopped and hands out all
 *	that is left.
 * @VFIO_MIGRATION_STATE_SAVE_COMPLETED: The save is over, the device stays
 *	stopped.
 * @VFIO_MIGRATION_STATE_RESUME: The device was reset, is stopped and takes a
 *	saved state.
 * @VFIO_MIGRATION_STATE_RESUME_COMPLETED: The saved state is complete and
 *	loaded; the device stays stopped until RUNNING.
 * @VFIO_MIGRATION_STATE_FAILED: Written by the client, in any state.  A source
 *	goes back to RUNNING with nothing lost.  A target drops the partial
 *	state and runs as after a reset.  The driver no longer records dirty
 *	pages.  Never read back: RUNNING follows at once.
 * @VFIO_MIGRATION_STATE_CANCELLED: The same as FAILED.
 */
enum vfio_device_migration_state {
	VFIO_MIGRATION_STATE_NONE		= 0,
	VFIO_MIGRATION_STATE_RUNNING		= 1,
	VFIO_MIGRATION_STATE_SETUP		= 2,
	VFIO_MIGRATION_STATE_PRECOPY		= 3,
	VFIO_MIGRATION_STATE_STOPNCOPY		= 4,
	VFIO_MIGRATION_STATE_SAVE_COMPLETED	= 5,
	VFIO_MIGRATION_STATE_RESUME		= 6,
	VFIO_MIGRATION_STATE_RESUME_COMPLETED	= 7,
	VFIO_MIGRATION_STATE_FAILED		= 8,
	VFIO_MIGRATION_STATE_CANCELLED		= 9
};

/**
 * struct vfio_migration_region_header - header of the migration region
 *
 * @device_state: One of enum vfio_device_migration_state.  A write returns
 *	when the device is in that state.
 * @pending: Bytes of device state that are left, read by the client.  The sum
 *	of the first three fields is all that is left.
 * @pending.precopy_only: Must go before the target starts, may go while the
 *	device runs.
 * @pending.compatible: May go at any time.
 * @pending.postcopy_only: Can go only after the source has stopped.
 * @pending.threshold_size: Written by the client: the most bytes that it takes
 *	in one buffer; 0, the value after open and after a reset, means the
 *	whole data section.
 * @data: The content of the data section.
 * @data.offset: Where in the region the section lies; never 0.
 * @data.size: Bytes that count.  In PRECOPY and STOPNCOPY the first read after a
 *	field of @pending was read or @device_state was written stages the next
 *	buffer; reading it again returns the same.  0 means nothing now
 *	(PRECOPY) or nothing more (STOPNCOPY).  After a query it is the length
 *	of the bitmap, until a field of @pending is read, @device_state is
 *	written or another query is armed.  While resuming, the client writes
 *	@data.offset (only the data section's own offset is accepted) and then
 *	@data.size.  That write returns when the driver has consumed the bytes,
 *	and fails if it refuses them.  After EINTR the client repeats it, with
 *	the same size and data: a part may be consumed.
 * @dirty_pfns: Query of the pages that the device wrote, from SETUP to the end
 *	of the save.
 * @dirty_pfns.start_addr: First I/O virtual address, page aligned.
 * @dirty_pfns.total: Pages asked for, from @dirty_pfns.start_addr on; writing
 *	it arms a query.
 * @dirty_pfns.copied: The first read after that runs the query, forgets what
 *	it reports and leaves a bitmap at the start of the data section, one
 *	bit for each page of 4096 bytes, bit 0 of byte 0 for the first.  Reads
 *	as the number of pages that the bitmap covers; the client asks for the
 *	rest from there.  0 means that no page of the whole range is dirty.
 *	The bitmap replaces a buffer.
 */
struct vfio_migration_region_header {
	__u32 device_state;
	struct {
		__u64 precopy_only;
		__u64 compatible;
		__u64 postcopy_only;
		__u64 threshold_size;
	} __attribute__((packed)) pending;
	struct {
		__u64 offset;
		__u64 size;
	} __attribute__((packed)) data;
	struct {
		__u64 start_addr;
		__u64 total;
		__u64 copied;
	} __attribute__((packed)) dirty_pfns;
} __attribute__((packed));

/* Bytes of guest memory that one bit of the dirty_pfns bitmap stands for. */
#define VFIO_MIGRATION_DIRTY_PAGE_SIZE		4096U

#endif /* _UAPI_LINUX_VFIO_MIGRATION_REGION_H */
