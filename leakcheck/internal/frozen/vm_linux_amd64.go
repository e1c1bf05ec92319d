package frozen

const sysProcessVMReadv = 310
