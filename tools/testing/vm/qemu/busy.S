/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest in 64 KiB of firmware that keeps an edu device busy and checks all of its
 * answers. It waits until the test has set up the device and written the address of its
 * BAR to the control block, and stops when the test clears that.
 *
 * A round: a factorial, a page to the device, and the same page back to another
 * place in memory.
 *
 * It counts its rounds in a register, and flushes the TLB before it fills a page. Before
 * QEMU 9.0 a translated store stayed on the fast path after migration had copied its page,
 * and that copy was the last ("physmem: Fix migration dirty bitmap coherency with TCG
 * memory access"): memory that only a processor writes, again and again, was stale on the
 * target. That must not count as a wrong answer of the device.
 */

	/* The control block, in guest memory. */
	.set	control, 0x1000
	.set	bar, control		/* address of BAR 0, or 0 */
	.set	rounds, control + 4	/* rounds that were completed */
	.set	errors, control + 8	/* wrong answers */
	.set	active, control + 12	/* 1 while a round is under way */

	.set	stack, 0x9000
	.set	source, 0x100000	/* the page that is sent */
	.set	target, 0x200000	/* 256 pages to which it comes back in turn */
	.set	page, 0x1000

	.set	factorial, 0x08
	.set	status, 0x20
	.set	dma_source, 0x80
	.set	dma_destination, 0x88
	.set	dma_count, 0x90
	.set	dma_command, 0x98
	.set	buffer, 0x40000

	.text
	.code16
start:
	cli
	lgdtl	%cs:(gdt_pointer - start)
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$8, $flat

	.code32
flat:
	mov	$16, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$stack, %esp
	xor	%ebp, %ebp		/* rounds that were completed */
	cld
wait:
	movl	$0, active
	pause
	mov	bar, %ebx
	test	%ebx, %ebx
	jz	wait
	movl	$1, active

	/* The factorial of 0 to 12, which fits in 32 bits. */
	mov	%ebp, %eax
	xor	%edx, %edx
	mov	$13, %ecx
	div	%ecx
	mov	%edx, factorial(%ebx)
	mov	$1, %eax
	mov	%edx, %ecx
	jecxz	2f
1:	imul	%ecx, %eax
	loop	1b
2:	testl	$1, status(%ebx)
	jnz	2b
	cmp	factorial(%ebx), %eax
	je	3f
	incl	errors
3:
	/* A page that no other round has. Changing WP flushes the TLB. */
	mov	%cr0, %eax
	xor	$0x10000, %eax
	mov	%eax, %cr0
	mov	%ebp, %eax
	not	%eax
	mov	$source, %edi
	mov	$page / 4, %ecx
	rep stosl
	mov	$source, %esi
	mov	$buffer, %edi
	mov	$1, %eax
	call	transfer

	call	place
	mov	$buffer, %esi
	mov	$3, %eax
	call	transfer

	call	place
	mov	%ebp, %eax
	not	%eax
	mov	$page / 4, %ecx
	repe scasl
	je	4f
	incl	errors
4:	inc	%ebp
	mov	%ebp, rounds
	jmp	wait

	/* Sets %edi to where the round's page comes back. */
place:
	mov	%ebp, %edi
	and	$255, %edi
	shl	$12, %edi
	add	$target, %edi
	ret

	/* From %esi to %edi by command %eax. */
transfer:
	mov	%esi, dma_source(%ebx)
	mov	%edi, dma_destination(%ebx)
	movl	$page, dma_count(%ebx)
	mov	%eax, dma_command(%ebx)
5:	testl	$1, dma_command(%ebx)
	jnz	5b
	ret

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* code, all of the address space */
	.quad	0x00cf93000000ffff	/* data, likewise */
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.org	0xfff0
	.code16
	jmp	start
	.org	0x10000
