package crictl

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// kind reads exactly these fields of `crictl inspecti` to decide whether to
// load an image.
func TestInspectedImageHasTheFieldsThatKindReads(t *testing.T) {
	var out bytes.Buffer
	c := &call{out: &out}
	image := &cri.Image{Id: "sha256:1234", RepoTags: []string{"docker.io/library/app:dev"}, Size: 1 << 40}
	if err := c.showStatus(image, map[string]string{"info": `{"chainID":"sha256:5"}`}); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Status struct {
			ID       string   `json:"id"`
			RepoTags []string `json:"repoTags"`
			Size     string   `json:"size"`
		} `json:"status"`
		Info struct {
			ChainID string `json:"chainID"`
		} `json:"info"`
	}
	if err := json.Unmarshal(out.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if read.Status.ID != "sha256:1234" || len(read.Status.RepoTags) != 1 || read.Status.RepoTags[0] != "docker.io/library/app:dev" {
		t.Errorf("status is %+v", read.Status)
	}
	if read.Status.Size != "1099511627776" || read.Info.ChainID != "sha256:5" {
		t.Errorf("read %+v", read)
	}
}

func TestTemplatesAndYAMLSeeTheSameDocument(t *testing.T) {
	for output, want := range map[string]string{
		"go-template": "sha256:1234\n",
		"yaml":        "status:\n  id: sha256:1234\n",
	} {
		var out bytes.Buffer
		c := &call{out: &out, options: options{output: output, template: "{{.status.id}}"}}
		if err := c.showStatus(&cri.Image{Id: "sha256:1234"}, nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(out.Bytes(), []byte(want)) {
			t.Errorf("-o %s printed %q", output, out.String())
		}
	}
}

func TestTagsAreSplitFromRegistriesWithPorts(t *testing.T) {
	for name, want := range map[string][2]string{
		"registry.k8s.io/pause:3.10.2": {"registry.k8s.io/pause", "3.10.2"},
		"localhost:5000/app":           {"localhost:5000/app", "<none>"},
		"localhost:5000/app:dev":       {"localhost:5000/app", "dev"},
	} {
		if repository, tag := splitTag(name); repository != want[0] || tag != want[1] {
			t.Errorf("%s is split into %q and %q", name, repository, tag)
		}
	}
}

func TestLogLinesThatGoOnAreJoined(t *testing.T) {
	for raw, want := range map[string]logLine{
		"2026-11-22T16:00:00.1Z stdout F all of it\n": {"stdout", "all of it\n"},
		"2026-11-22T16:00:00.1Z stderr P a part \n":   {"stderr", "a part "},
		"no log line\n": {"stdout", "no log line\n"},
	} {
		if got := parseLogLine(raw); got != want {
			t.Errorf("%q is read as %+v", raw, got)
		}
	}
}

func TestAgesAndSizes(t *testing.T) {
	if got := age(time.Now().Add(-61 * time.Second).UnixNano()); got != "1 minute ago" {
		t.Error(got)
	}
	if got := bytesSize(24981362); got != "25MB" {
		t.Error(got)
	}
}

func TestFlagsMayStandTogetherAndAfterArguments(t *testing.T) {
	c, err := parse(command{names: []string{"ps"}}, []string{"x", "-aq"})
	if err != nil || !c.all || !c.quiet || len(c.args) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = parse(command{names: []string{"exec"}}, []string{"id", "ls", "-a"})
	if err != nil || c.all || len(c.args) != 3 {
		t.Errorf("%+v, %v", c, err)
	}
}
