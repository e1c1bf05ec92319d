package frozen

const sysProcessVMReadv = 270
