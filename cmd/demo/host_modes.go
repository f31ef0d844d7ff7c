package main

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// backgroundGrace is how long output may go on after the program has ended,
// while a child of its still holds the terminal or the pipes.
const backgroundGrace = 500 * time.Millisecond

func waitQuiet(drained <-chan struct{}) {
	t := time.NewTimer(backgroundGrace)
	defer t.Stop()
	select {
	case <-drained:
	case <-t.C:
	}
}

// terminalMode is one encoded terminal mode (RFC 4254, section 8).
type terminalMode struct {
	op    byte
	value uint32
}

// parseModes reads up to TTY_OP_END, or the first opcode without an argument
// of 32 bits.
func parseModes(b []byte) []terminalMode {
	var out []terminalMode
	for len(b) >= 5 && b[0] != 0 && b[0] < 160 {
		out = append(out, terminalMode{b[0], binary.BigEndian.Uint32(b[1:])})
		b = b[5:]
	}
	return out
}

// characters maps opcodes to places in Termios.Cc.
var characters = map[byte]int{
	1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
	8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT,
	16: unix.VSWTC, 18: unix.VDISCARD,
}

// flags maps opcodes to bits of a word of Termios.
var flags = map[byte]struct {
	word byte
	bit  uint32
}{
	30: {'i', unix.IGNPAR}, 31: {'i', unix.PARMRK}, 32: {'i', unix.INPCK}, 33: {'i', unix.ISTRIP}, 34: {'i', unix.INLCR},
	35: {'i', unix.IGNCR}, 36: {'i', unix.ICRNL}, 37: {'i', unix.IUCLC}, 38: {'i', unix.IXON}, 39: {'i', unix.IXANY},
	40: {'i', unix.IXOFF}, 41: {'i', unix.IMAXBEL}, 42: {'i', unix.IUTF8},
	50: {'l', unix.ISIG}, 51: {'l', unix.ICANON}, 52: {'l', unix.XCASE}, 53: {'l', unix.ECHO}, 54: {'l', unix.ECHOE},
	55: {'l', unix.ECHOK}, 56: {'l', unix.ECHONL}, 57: {'l', unix.NOFLSH}, 58: {'l', unix.TOSTOP}, 59: {'l', unix.IEXTEN},
	60: {'l', unix.ECHOCTL}, 61: {'l', unix.ECHOKE}, 62: {'l', unix.PENDIN},
	70: {'o', unix.OPOST}, 71: {'o', unix.OLCUC}, 72: {'o', unix.ONLCR}, 73: {'o', unix.OCRNL}, 74: {'o', unix.ONOCR},
	75: {'o', unix.ONLRET},
	92: {'c', unix.PARENB}, 93: {'c', unix.PARODD},
}

// speeds maps bits per second to the speed's constant.
var speeds = map[uint32]uint32{
	9600: unix.B9600, 19200: unix.B19200, 38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400,
}

// setModes applies what the client's terminal is set to.
func setModes(tty *os.File, modes []terminalMode) error {
	if len(modes) == 0 {
		return nil
	}
	t, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	for _, m := range modes {
		applyMode(t, m)
	}
	return unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, t)
}

func applyMode(t *unix.Termios, m terminalMode) {
	if i, ok := characters[m.op]; ok {
		t.Cc[i] = byte(m.value) // 255 means none, and so does 0 to the terminal
		if m.value == 255 {
			t.Cc[i] = 0
		}
		return
	}
	if speed, ok := speeds[m.value]; ok && (m.op == 128 || m.op == 129) {
		t.Cflag = t.Cflag&^unix.CBAUD | speed
		t.Ispeed, t.Ospeed = speed, speed
		return
	}
	switch m.op {
	case 90: // CS7
		if m.value != 0 {
			t.Cflag = t.Cflag&^unix.CSIZE | unix.CS7
		}
		return
	case 91: // CS8
		if m.value != 0 {
			t.Cflag = t.Cflag&^unix.CSIZE | unix.CS8
		}
		return
	}
	f, ok := flags[m.op]
	if !ok {
		return
	}
	word := map[byte]*uint32{'i': &t.Iflag, 'o': &t.Oflag, 'l': &t.Lflag, 'c': &t.Cflag}[f.word]
	*word &^= f.bit
	if m.value != 0 {
		*word |= f.bit
	}
}

// sendBreak passes a break on (RFC 4335).
func (s *hostSession) sendBreak() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.term != nil && control(s.term, func(fd int) error { return unix.IoctlSetInt(fd, unix.TCSBRK, 0) }) == nil
}

// pollable trades f for a file on the same terminal whose reads end when it is
// closed. os.File.Fd must not be called on it.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// control calls do with the descriptor of f.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// setSize sets a terminal's size, in cells and pixels.
func setSize(f *os.File, w windowChange) error {
	clamp := func(n uint32) uint16 { return uint16(min(n, 65535)) }
	size := &unix.Winsize{Row: clamp(w.Rows), Col: clamp(w.Cols), Xpixel: clamp(w.Width), Ypixel: clamp(w.Height)}
	return control(f, func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
}
