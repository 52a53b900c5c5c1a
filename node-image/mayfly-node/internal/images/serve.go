package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// request asks for one thing; the field that is set says which.
type request struct {
	Present  *presentRequest  `json:"present"`
	Register *registerRequest `json:"register"`
}

// RunServe answers JSON documents on standard input, each with one line, until
// the input ends: starting a program in a node takes longer than any answer.
func RunServe(ctx context.Context, _ []string) error {
	return withDaemon(ctx, func(ctx context.Context, d daemon) error {
		answers := json.NewEncoder(os.Stdout)
		for request := range requests(ctx, os.Stdin) {
			if request.failure != nil {
				return fmt.Errorf("standard input: %w", request.failure)
			}
			answer, err := d.answer(ctx, request.request)
			if err != nil {
				return err
			}
			if err := answers.Encode(answer); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d daemon) answer(ctx context.Context, asked request) (any, error) {
	switch {
	case asked.Present != nil:
		return d.present(ctx, *asked.Present)
	case asked.Register != nil:
		return d.link(ctx, *asked.Register)
	}
	return nil, errors.New("the request asks for nothing")
}

type incoming struct {
	request request
	failure error
}

// requests reads until the input, or ctx, ends: a read from a pipe does not end with ctx.
func requests(ctx context.Context, from io.Reader) func(yield func(incoming) bool) {
	read := make(chan incoming)
	go func() {
		defer close(read)
		documents := json.NewDecoder(from)
		for {
			var next incoming
			if next.failure = documents.Decode(&next.request); next.failure == io.EOF {
				return
			}
			select {
			case read <- next:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func(yield func(incoming) bool) {
		for {
			select {
			case next, more := <-read:
				if !more || !yield(next) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
