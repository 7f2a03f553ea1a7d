// Checks what Diwan's ledger hands out with golang.org/x/mod/sumdb's note and tlog, which share no code with Diwan.
//
//	logcheck record VKEY < PROOF          a c2sp.org/tlog-proof whose extra line is the entry
//	logcheck grown VKEY OLD NEW HASHES…   checkpoint NEW (a file) begins with checkpoint OLD; HASHES in base64
//
// Prints nothing and exits with 0 where it holds.
package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "record" {
		return record(args[1])
	}
	if len(args) >= 4 && args[0] == "grown" {
		return grown(args[1], args[2], args[3], args[4:])
	}
	return fmt.Errorf("usage: logcheck record VKEY | grown VKEY OLD NEW HASHES")
}

func record(vkey string) error {
	content, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	head, signed, found := strings.Cut(string(content), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return fmt.Errorf("not a proof")
	}
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	proof, err := hashes(lines[3:])
	if err != nil {
		return err
	}
	size, root, err := opened(vkey, []byte(signed))
	if err != nil {
		return err
	}
	return tlog.CheckRecord(tlog.RecordProof(proof), size, root, index, tlog.RecordHash(entry))
}

func grown(vkey, before, after string, proof []string) error {
	old, err := os.ReadFile(before)
	if err != nil {
		return err
	}
	now, err := os.ReadFile(after)
	if err != nil {
		return err
	}
	oldSize, oldRoot, err := opened(vkey, old)
	if err != nil {
		return err
	}
	size, root, err := opened(vkey, now)
	if err != nil {
		return err
	}
	between, err := hashes(proof)
	if err != nil {
		return err
	}
	return tlog.CheckTree(tlog.TreeProof(between), size, root, oldSize, oldRoot)
}

func opened(vkey string, signed []byte) (int64, tlog.Hash, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	said, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	lines := strings.Split(said.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return 0, tlog.Hash{}, fmt.Errorf("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return size, root, err
}

func hashes(lines []string) ([]tlog.Hash, error) {
	found := []tlog.Hash{}
	for _, line := range lines {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		found = append(found, hash)
	}
	return found, nil
}
