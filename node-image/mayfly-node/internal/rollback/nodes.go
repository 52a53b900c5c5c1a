package rollback

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Fields of a Node's status, by k8s.io/api/core/v1/generated.proto.
const (
	capacityField    = 1
	allocatableField = 2
	conditionsField  = 4
)

// nodeAsSaved is the current Node with metadata and spec of the saved one, and
// without the resources and conditions that were added to its status; nil when
// there is nothing to change. All else in the status is the node's to tell.
func nodeAsSaved(saved, current []byte) ([]byte, error) {
	was, err := partsOf(saved)
	if errors.Is(err, errNotProtobuf) {
		return saved, nil
	}
	if err != nil {
		return nil, err
	}
	is, err := partsOf(current)
	if err != nil {
		return nil, err
	}
	wasMeta, err := metadataOf(saved)
	if err != nil {
		return nil, err
	}
	isMeta, err := metadataOf(current)
	if err != nil {
		return nil, err
	}
	status, err := nodeStatusAsSaved(was.status, is.status)
	if err != nil {
		return nil, err
	}
	if sameMetadata(wasMeta, isMeta) && bytes.Equal(was.spec, is.spec) && bytes.Equal(status, is.status) {
		return nil, nil
	}
	was.status = status
	return was.stored()
}

func nodeStatusAsSaved(saved, current []byte) ([]byte, error) {
	was, err := fieldsOf(saved)
	if err != nil {
		return nil, err
	}
	is, err := fieldsOf(current)
	if err != nil {
		return nil, err
	}
	missing := map[string]field{}
	for _, f := range was {
		if f.isKeyed() {
			missing[f.entryKey()] = f
		}
	}
	var status []byte
	for _, f := range is {
		if f.isKeyed() {
			saved, wasThere := missing[f.entryKey()]
			if !wasThere {
				continue
			}
			delete(missing, f.entryKey())
			if f.isExtendedResource() {
				f = saved
			}
		}
		status = append(status, f.encoded...)
	}
	for _, f := range was {
		if _, isMissing := missing[f.entryKey()]; isMissing && f.isExtendedResource() {
			status = append(status, f.encoded...)
		}
	}
	return status, nil
}

// isKeyed tells the fields of a Node's status that others add entries to.
func (f field) isKeyed() bool {
	return f.number == capacityField || f.number == allocatableField || f.number == conditionsField
}

// isExtendedResource tells a resource that somebody patched into a Node's
// status. The node reports all others itself, again and again.
func (f field) isExtendedResource() bool {
	return (f.number == capacityField || f.number == allocatableField) && strings.Contains(f.entryKey(), "/")
}

// entryKey is the key of a map's entry or the type of a condition, which is the
// first field in both, with the number of the field that it is an entry of.
func (f field) entryKey() string {
	if !f.isKeyed() {
		return ""
	}
	fields, err := fieldsOf(f.content())
	if err != nil || len(fields) == 0 {
		return ""
	}
	return fmt.Sprintf("%d:%s", f.number, fields[0].content())
}

func isNodeReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
