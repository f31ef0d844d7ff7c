package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// read parses the bytes of a file; until is as a parser's.
func read(data []byte, number uint64, until int64, f func(Record, LSN) error) ([]Damage, error) {
	p := &parser{source: newSource(bytes.NewReader(data), int64(len(data))), number: number, until: until, budget: searchBudget, call: f}
	err := p.parse([32]byte{})
	return p.damaged, err
}

// written makes a journal of records of nine bytes, as many as are asked for, in
// files of 2 KiB, and returns its directory.
func written(t testing.TB, records int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	j := open1(t, Options{Dir: dir, FileSize: 2 << 10})
	for i := range records {
		if _, err := j.Write(Record{Seq: uint64(i), Data: []byte("some data")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func contents(t testing.TB, dir string, number uint64) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, fileName(number)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(t testing.TB, dir string, number uint64, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, fileName(number)), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sequences returns the sequences of what a journal replays.
func sequences(t testing.TB, j *Journal) ([]int, []Damage) {
	t.Helper()
	var all []int
	damaged, err := j.Replay(func(r Record, _ LSN) error {
		all = append(all, int(r.Seq))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, damaged
}

func TestCutAndFlippedAtEveryByte(t *testing.T) {
	whole := contents(t, written(t, 8), 1)
	size := recordSize(9)
	end := headerSize + 8*size
	for cut := range end {
		n := 0
		damaged, err := read(whole[:cut], 1, 0, func(r Record, _ LSN) error {
			if r.Seq != uint64(n) {
				t.Fatalf("cut at %d: record %d is %d", cut, n, r.Seq)
			}
			n++
			return nil
		})
		if want := max(0, cut-headerSize) / size; err != nil || n != want || len(damaged) > 0 {
			t.Errorf("cut at %d: %d records, want %d; %v %v", cut, n, want, damaged, err)
		}
		// Where the journal went on in the next file, any cut is damage.
		damaged, err = read(whole[:cut], 1, int64(end), func(Record, LSN) error { return nil })
		if err != nil || len(damaged) != 1 || damaged[0].Offset > int64(cut) || damaged[0].Until != 0 {
			t.Errorf("cut at %d of a whole file: %v %v", cut, damaged, err)
		}
		// And so is what became zeros.
		zeroed := append(bytes.Clone(whole[:cut]), make([]byte, len(whole)-cut)...)
		damaged, err = read(zeroed, 1, int64(end), func(Record, LSN) error { return nil })
		if err != nil && !errors.Is(err, ErrWrongKey) || err == nil && len(damaged) != 1 {
			t.Errorf("zero from %d of a whole file: %v %v", cut, damaged, err)
		}
	}
	for at := range end {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x10
		n := 0
		damaged, err := read(flipped, 1, 0, func(Record, LSN) error { n++; return nil })
		switch last := at >= headerSize+7*size; {
		case err != nil:
			t.Errorf("flipped at %d: %v", at, err)
		case at >= 24 && at < headerSize: // the salt or the check value
			if n != 0 || len(damaged) != 1 || damaged[0].Until != 0 {
				t.Errorf("flipped at %d: %d records, %v", at, n, damaged)
			}
		case at < headerSize:
			if n != 8 || len(damaged) != 1 || damaged[0].Offset != int64(at) || damaged[0].Until != headerSize {
				t.Errorf("flipped at %d: %d records, %v", at, n, damaged)
			}
		case last:
			if n != 7 || len(damaged) != 0 {
				t.Errorf("flipped at %d: %d records, %v", at, n, damaged)
			}
		default:
			begin := at - (at-headerSize)%size
			if n != 7 || len(damaged) != 1 || damaged[0].Offset != int64(begin) || damaged[0].Until != int64(begin+size) {
				t.Errorf("flipped at %d: %d records, %v", at, n, damaged)
			}
		}
	}
}

// A torn end is the end only of the last file of a run; every other file says
// what is gone from it, and the other files are not affected.
func TestDamageNamesFileAndOffset(t *testing.T) {
	const records = 60
	first := (2<<10 - 512 - headerSize) / recordSize(9) // in the first file
	for name, c := range map[string]struct {
		hit    func(t *testing.T, dir string)
		lost   int
		file   string
		offset int64
		text   string
	}{
		"nothing": {hit: func(*testing.T, string) {}},
		"the last file cut off": {hit: func(t *testing.T, dir string) {
			all, _ := numbers(dir)
			last := all[len(all)-1].number
			data := bytes.TrimRight(contents(t, dir, last), "\x00")
			put(t, dir, last, data[:len(data)-30])
		}, lost: 1},
		"the first file cut off": {hit: func(t *testing.T, dir string) {
			put(t, dir, 1, contents(t, dir, 1)[:headerSize+2*recordSize(9)+5])
		}, lost: first - 2, file: fileName(1), offset: int64(headerSize + 2*recordSize(9)), text: "cut off"},
		"a header": {hit: func(t *testing.T, dir string) {
			put(t, dir, 1, append(make([]byte, headerSize), contents(t, dir, 1)[headerSize:]...))
		}, lost: first, file: fileName(1), text: "does not begin"},
		"a link": {hit: func(t *testing.T, dir string) {
			data := contents(t, dir, 2)
			data[headerSize+9] ^= 1
			put(t, dir, 2, data)
		}, file: fileName(2), offset: headerSize, text: "authentication"},
		"a file gone": {hit: func(t *testing.T, dir string) {
			os.Remove(filepath.Join(dir, fileName(2)))
		}, lost: (2<<10 - 512 - headerSize - linkSize) / recordSize(9), file: fileName(2), text: "missing"},
		"a file under another's name": {hit: func(t *testing.T, dir string) {
			put(t, dir, 2, contents(t, dir, 1))
		}, lost: (2<<10 - 512 - headerSize - linkSize) / recordSize(9), file: fileName(2), offset: 16, text: "file 1"},
		"a garbled middle": {hit: func(t *testing.T, dir string) {
			data := contents(t, dir, 1)
			copy(data[headerSize+3*recordSize(9)+7:], bytes.Repeat([]byte{0, 0, 0, 60}, recordSize(9)/2))
			put(t, dir, 1, data)
		}, lost: 3, file: fileName(1), offset: int64(headerSize + 3*recordSize(9)), text: "authentication"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := written(t, records)
			c.hit(t, dir)
			j := open1(t, Options{Dir: dir, FileSize: 2 << 10})
			for range 2 { // it may be replayed again
				got, damaged := sequences(t, j)
				if len(got) != records-c.lost {
					t.Errorf("%d of %d records came back, want %d less", len(got), records, c.lost)
				}
				for i := range got[1:] {
					if got[i] >= got[i+1] {
						t.Errorf("out of order: %v", got)
					}
				}
				if c.file == "" {
					if len(damaged) != 0 {
						t.Errorf("damage %v", damaged)
					}
					continue
				}
				if len(damaged) != 1 || damaged[0].File != filepath.Join(dir, c.file) || damaged[0].Offset != c.offset ||
					!strings.Contains(damaged[0].Error(), c.text) || !strings.Contains(damaged[0].Error(), fmt.Sprintf("%s is damaged at byte %d", damaged[0].File, c.offset)) {
					t.Errorf("damage %v", damaged)
				}
			}
		})
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	dir := written(t, 3)
	data := contents(t, dir, 1)
	binary.BigEndian.PutUint16(data[8:], 2)
	copy(data[56:], "the newer program's own") // its keys are derived in its own way
	put(t, dir, 1, data)
	_, err := Open(Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), fileName(1)+": byte 8: version 2 is newer") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if all, _ := numbers(dir); len(all) != 1 {
		t.Errorf("files %v", all)
	}
	// A damaged version is no newer one.
	dir = written(t, 3)
	data = contents(t, dir, 1)
	data[9] = 7
	put(t, dir, 1, data)
	if got, damaged := sequences(t, open1(t, Options{Dir: dir})); len(got) != 3 || len(damaged) != 1 || damaged[0].Offset != 9 {
		t.Errorf("%v, %v", got, damaged)
	}
}

// What a crash leaves at the end of a big file is passed over at once. With a
// look at 64 KiB for each byte this took minutes.
func TestTornRecordInABigFile(t *testing.T) {
	j := open1(t, Options{})
	if _, err := j.Write(Record{Data: []byte("some data")}); err != nil {
		t.Fatal(err)
	}
	path := j.path(1)
	j.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(data[headerSize+recordSize(9):], "\x00\x00\x01\x00torn")
	n := 0
	damaged, err := read(data, 1, 0, func(Record, LSN) error { n++; return nil })
	if n != 1 || len(damaged) != 0 || err != nil {
		t.Errorf("%d records, %v, %v", n, damaged, err)
	}
}

// A file of lengths that might be takes no time without end: the search for
// whole records is bounded, and says so.
func TestSearchIsBounded(t *testing.T) {
	whole := contents(t, written(t, 2), 1)
	at := headerSize + recordSize(9)
	hostile := append(bytes.Clone(whole[:at]), bytes.Repeat([]byte{0, 15}, 2<<20)...)
	hostile = append(hostile, whole[at:]...)
	p := &parser{source: newSource(bytes.NewReader(hostile), int64(len(hostile))), number: 1, budget: 16 << 20,
		call: func(Record, LSN) error { return nil }}
	if err := p.parse([32]byte{}); err != nil {
		t.Fatal(err)
	}
	if len(p.damaged) != 1 || p.damaged[0].Offset != int64(at) || !strings.Contains(p.damaged[0].Error(), "not searched") {
		t.Errorf("damage %v", p.damaged)
	}
	if cap(p.buf) > window {
		t.Errorf("%d bytes are in memory", cap(p.buf))
	}
}

// A replayed file that is unreadable on the disk is damage, not the end of all.
func TestUnreadablePartOfAFile(t *testing.T) {
	whole := contents(t, written(t, 8), 1)
	bad := int64(headerSize + 3*recordSize(9) + 4)
	p := &parser{source: newSource(badDisk{whole, bad}, int64(len(whole))), number: 1, budget: searchBudget}
	n := 0
	p.call = func(Record, LSN) error { n++; return nil }
	if err := p.parse([32]byte{}); err != nil {
		t.Fatal(err)
	}
	if n != 3 || len(p.damaged) != 1 || p.damaged[0].Offset > bad || !errors.Is(p.damaged[0], errBadDisk) {
		t.Errorf("%d records, %v", n, p.damaged)
	}
}

var errBadDisk = errors.New("input/output error")

// badDisk cannot read from an offset on.
type badDisk struct {
	data []byte
	bad  int64
}

func (b badDisk) ReadAt(p []byte, at int64) (int, error) {
	n := copy(p, b.data[min(at, b.bad):b.bad])
	if n < len(p) {
		return n, errBadDisk
	}
	return n, nil
}
