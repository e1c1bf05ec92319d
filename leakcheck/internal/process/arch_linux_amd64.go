package process

import "syscall"

const sysProcessVMReadv = 310

func thread(id uint64, r *syscall.PtraceRegs) Thread {
	return Thread{ID: id, PC: r.Rip, SP: r.Rsp, FP: r.Rbp,
		Other: []uint64{r.Rax, r.Rbx, r.Rcx, r.Rdx, r.Rsi, r.Rdi, r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15}}
}
