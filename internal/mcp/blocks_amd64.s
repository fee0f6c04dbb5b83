#include "textflag.h"

// Constants, which are repeated over 32 bytes.
DATA quote<>+0(SB)/8, $0x2222222222222222
GLOBL quote<>(SB), RODATA|NOPTR, $8
DATA backslash<>+0(SB)/8, $0x5c5c5c5c5c5c5c5c
GLOBL backslash<>(SB), RODATA|NOPTR, $8
DATA space<>+0(SB)/8, $0x2020202020202020
GLOBL space<>(SB), RODATA|NOPTR, $8
DATA nibble<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL nibble<>(SB), RODATA|NOPTR, $8

// What may stand behind a backslash is in four columns of the ASCII table: 2 has " and /, 5 has \, 6 has b, f and n,
// 7 has r and t. columns gives each of them a bit, by the high half of a byte; rows says, by the low half, in which of
// them something stands. A byte that has a bit in common is one of these eight.
DATA columns<>+0(SB)/8, $0x0804020000010000
DATA columns<>+8(SB)/8, $0x0000000000000000
GLOBL columns<>(SB), RODATA|NOPTR, $16

DATA rows<>+0(SB)/8, $0x00040008000d0000
DATA rows<>+8(SB)/8, $0x0104000200000000
GLOBL rows<>(SB), RODATA|NOPTR, $16

// func plainBlocks(p *byte, n int) (moved int, escaped bool)
TEXT ·plainBlocks(SB), NOSPLIT, $0-25
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	VPBROADCASTQ quote<>(SB), Y8
	VPBROADCASTQ backslash<>(SB), Y9
	VPBROADCASTQ space<>(SB), Y10
	VPBROADCASTQ nibble<>(SB), Y11
	VBROADCASTI128 rows<>(SB), Y12
	VBROADCASTI128 columns<>(SB), Y13
	VPXOR Y14, Y14, Y14
	XORQ DI, DI // how far it is
	XORQ R8, R8 // 1 when a backslash stands before DI, which belongs to what comes
	XORQ R9, R9 // all backslashes

next:
	LEAQ 64(DI), AX
	CMPQ AX, CX
	JGT  done
	VMOVDQU (SI)(DI*1), Y0
	VMOVDQU 32(SI)(DI*1), Y1

	// Nothing may be less than a space, as signed bytes: control characters and what is not ASCII.
	VPCMPGTB Y0, Y10, Y2
	VPCMPGTB Y1, Y10, Y3
	VPOR Y2, Y3, Y2
	VPMOVMSKB Y2, AX
	TESTL AX, AX
	JNZ   done

	// R11: backslashes, a bit for each byte. DX: what stands behind one.
	VPCMPEQB Y0, Y9, Y2
	VPCMPEQB Y1, Y9, Y3
	VPMOVMSKB Y2, R11
	VPMOVMSKB Y3, R12
	SHLQ $32, R12
	ORQ  R12, R11
	LEAQ (R8)(R11*2), DX
	TESTQ DX, R11 // one behind another one
	JNZ   done

	// Every quote must stand behind a backslash.
	VPCMPEQB Y0, Y8, Y2
	VPCMPEQB Y1, Y8, Y3
	VPMOVMSKB Y2, R13
	VPMOVMSKB Y3, R12
	SHLQ $32, R12
	ORQ  R12, R13
	MOVQ DX, AX
	NOTQ AX
	TESTQ AX, R13
	JNZ   done

	// What stands behind a backslash must be one of the eight. R13: what is not.
	VPAND Y0, Y11, Y2
	VPAND Y1, Y11, Y3
	VPSRLW $4, Y0, Y4
	VPSRLW $4, Y1, Y5
	VPAND Y4, Y11, Y4
	VPAND Y5, Y11, Y5
	VPSHUFB Y2, Y12, Y2
	VPSHUFB Y3, Y12, Y3
	VPSHUFB Y4, Y13, Y4
	VPSHUFB Y5, Y13, Y5
	VPAND Y2, Y4, Y2
	VPAND Y3, Y5, Y3
	VPCMPEQB Y2, Y14, Y2
	VPCMPEQB Y3, Y14, Y3
	VPMOVMSKB Y2, R13
	VPMOVMSKB Y3, R12
	SHLQ $32, R12
	ORQ  R12, R13
	TESTQ DX, R13
	JNZ   done

	ORQ  R11, R9
	MOVQ R11, R8
	SHRQ $63, R8
	ADDQ $64, DI
	JMP  next

done:
	VZEROUPPER
	SUBQ R8, DI
	MOVQ DI, moved+16(FP)
	TESTQ R9, R9
	SETNE escaped+24(FP)
	RET
