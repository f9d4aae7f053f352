/* A guest small enough to ask "does this accelerator really run code?" in half a second.
 *
 * Booted by QEMU's -kernel through its PVH note, in 32-bit protected mode without paging.
 * It does what broken accelerators were seen to stumble over: enables paging and long
 * mode (EFER), writes and reads back MSRs, executes CPUID and RDTSC in 64-bit code, takes
 * a software interrupt through its own IDT, and touches memory. Then it reports by
 * -device isa-debug-exit,iobase=0xf4: QEMU exits with status (0x10 << 1) | 1 = 33. Any other end
 * (another status, a signal, a time-out) means that the accelerator is not to be used.
 */
        .section .note.Xen, "a"
        .align 4
        .long 4, 4, 18                  /* name size, data size, XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long start

        .text
        .code32
        .globl start
start:  cli
        movl $stack_top, %esp
        /* Identity-map the first GiB: PML4 -> PDPT -> 512 pages of 2 MiB. */
        movl $pdpt + 3, pml4
        movl $pd + 3, pdpt
        movl $pd, %edi
        movl $0x83, %eax                /* present, writable, 2 MiB page */
        movl $512, %ecx
1:      movl %eax, (%edi)
        movl $0, 4(%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 1b
        movl %cr4, %eax
        orl $0x20, %eax                 /* PAE */
        movl %eax, %cr4
        movl $pml4, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx          /* EFER */
        rdmsr
        orl $0x101, %eax                /* LME, SCE */
        wrmsr
        movl %cr0, %eax
        orl $0x80000001, %eax           /* PG, PE */
        movl %eax, %cr0
        lgdt gdt_pointer
        ljmp $8, $long_mode

        .code64
long_mode:
        movw $16, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        /* LSTAR keeps what is written to it. */
        movl $0xc0000082, %ecx
        movl $0x12345678, %eax
        xorl %edx, %edx
        wrmsr
        xorl %eax, %eax
        rdmsr
        cmpl $0x12345678, %eax
        jne fail
        movl $0x1b, %ecx                /* local APIC base: exists and is enabled */
        rdmsr
        testl $0x800, %eax
        jz fail
        xorl %eax, %eax
        cpuid
        testl %eax, %eax
        jz fail
        rdtsc
        /* A software interrupt through an IDT entry made here. */
        movq $handler, %rax
        movq $idt + 0x30 * 16, %rdi
        movw %ax, (%rdi)
        movw $8, 2(%rdi)
        movw $0x8e00, 4(%rdi)
        shrq $16, %rax
        movw %ax, 6(%rdi)
        shrq $16, %rax
        movl %eax, 8(%rdi)
        lidt idt_pointer
        xorl %ebx, %ebx
        int $0x30
        cmpl $0x5a5a, %ebx
        jne fail
        /* Write and sum 16 MiB, so that page faults of the host side happen too. */
        movq $0x1000000, %rdi
        movq $0x200000, %rcx
        movq $3, %rax
        rep stosq
        movq $0x1000000, %rsi
        movq $0x200000, %rcx
        xorq %rbx, %rbx
2:      addq (%rsi), %rbx
        addq $8, %rsi
        loop 2b
        cmpq $0x600000, %rbx
        jne fail
        movb $0x10, %al
        jmp report
fail:   movb $0x20, %al
report: movw $0xf4, %dx
        outb %al, %dx
3:      hlt
        jmp 3b

handler:
        movl $0x5a5a, %ebx
        iretq

        .data
        .align 16
gdt:    .quad 0
        .quad 0x00af9a000000ffff        /* 64-bit code */
        .quad 0x00cf92000000ffff        /* data */
gdt_pointer:
        .word gdt_pointer - gdt - 1
        .quad gdt
idt_pointer:
        .word 256 * 16 - 1
        .quad idt

        .bss
        .align 4096
pml4:   .skip 4096
pdpt:   .skip 4096
pd:     .skip 4096
idt:    .skip 4096
        .skip 4096
stack_top:
