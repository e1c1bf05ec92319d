package scratch_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/leaksafe/leaksafe/pool/scratch"
)

// A socket loop decodes one message after another in one memory.
func ExampleBuffer() {
	conn := messages("first", "second")
	var s scratch.Buffer
	for {
		if err := s.ReadFull(conn, 4); err == io.EOF {
			break
		} else if err != nil {
			fmt.Println(err)
			return
		}
		n := int(binary.BigEndian.Uint32(s.View(0, 4).Bytes()))
		// The peer may claim any length: memory is taken as bytes arrive.
		if err := s.ReadFull(conn, n); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s\n", s.View(0, s.Len()).Bytes())
	}
	// Output:
	// first
	// second
}

// messages returns a connection on which they arrive, each after its length.
func messages(all ...string) net.Conn {
	conn, peer := net.Pipe()
	go func() {
		defer peer.Close()
		for _, m := range all {
			peer.Write(binary.BigEndian.AppendUint32(nil, uint32(len(m))))
			io.WriteString(peer, m)
		}
	}()
	return conn
}

// A view ends when its contents are replaced.
func ExampleView() {
	defer func() { fmt.Println(recover()) }()
	var s scratch.Buffer
	s.Set([]byte("name=gopher"))
	name := s.View(5, 11)
	copy(name.Bytes(), "G")
	fmt.Printf("%s\n", name.Bytes())

	s.Set([]byte("name=other"))
	name.Bytes()
	// Output:
	// Gopher
	// scratch: View.Bytes: the view is of contents 1 and the Buffer has contents 2: take views again after Set, ReadFull or Reset
}
