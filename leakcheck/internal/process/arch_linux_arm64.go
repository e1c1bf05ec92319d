package process

import "syscall"

const sysProcessVMReadv = 270

func thread(id uint64, r *syscall.PtraceRegs) Thread {
	return Thread{ID: id, PC: r.Pc, SP: r.Sp, FP: r.Regs[29], Other: r.Regs[:]}
}
