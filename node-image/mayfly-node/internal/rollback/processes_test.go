package rollback

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPodOfACgroup(t *testing.T) {
	for cgroups, want := range map[string]string{
		"0::/kubelet/kubepods/besteffort/pod" + uid + "/0123":                                                            uid,
		"4:pids:/kubelet/kubepods/pod99c05c8749054faa8e92d64f54b66e98/0123\n1:name=systemd:/x":                           "99c05c8749054faa8e92d64f54b66e98",
		"0::/kubelet-kubepods-pod11111111_1111_1111_1111_111111111111.slice/cri-containerd-0123.scope":                   uid,
		"0::/system.slice/kubelet.service":                                                                               "",
		"0::/system.slice/podman-11111111-1111-1111-1111-111111111111":                                                   "",
		"0::/kubelet/kubepods/besteffort/pod" + uid + "/0123/inner/pod22222222-2222-2222-2222-222222222222/of-a-cluster": uid,
	} {
		if got := podOfCgroups(cgroups); got != want {
			t.Errorf("%q is of pod %q, not %q", cgroups, got, want)
		}
	}
}

func TestMemoryOfAPod(t *testing.T) {
	for cgroups, want := range map[string]memoryFiles{
		"0::/kubelet/kubepods/besteffort/pod" + uid + "/0123": {
			"/sys/fs/cgroup/kubelet/kubepods/besteffort/pod" + uid + "/memory.current",
			"/sys/fs/cgroup/kubelet/kubepods/besteffort/pod" + uid + "/memory.reclaim",
		},
		// Hybrid hierarchies list the unified one last, without controllers.
		"9:memory:/kubelet/kubepods/pod" + uid + "/0123\n1:name=systemd:/kubelet/kubepods/pod" + uid + "/0123\n0::/\n": {
			"/sys/fs/cgroup/memory/kubelet/kubepods/pod" + uid + "/memory.usage_in_bytes",
			"/sys/fs/cgroup/memory/kubelet/kubepods/pod" + uid + "/memory.force_empty",
		},
		"9:memory:/init.scope\n0::/init.scope\n": {},
	} {
		if got := memoryOfPod(cgroups); got != want {
			t.Errorf("%q has %q, not %q", cgroups, got, want)
		}
	}
}

func TestOnlyCrumbsAreGivenBack(t *testing.T) {
	for usage, want := range map[string]string{"65536\n": everything, "31457280\n": "", "?": ""} {
		dir := t.TempDir()
		pod := memoryFiles{filepath.Join(dir, "usage"), filepath.Join(dir, "reclaim")}
		for file, content := range map[string]string{pod.usage: usage, pod.reclaim: ""} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		giveBackCrumbs(slices.Values([]memoryFiles{pod, {"/nowhere", "/nowhere"}}))
		got, err := os.ReadFile(pod.reclaim)
		if err != nil || string(got) != want {
			t.Errorf("with %q charged %q was asked for, not %q (%v)", usage, got, want, err)
		}
	}
}

func TestStatOfThisProcess(t *testing.T) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(os.Getpid()) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	command, state, started := parseStat(string(stat))
	if command != "rollback.test" || state != "R" && state != "S" {
		t.Errorf("got %q in state %q", command, state)
	}
	if age := time.Since(started); age < 0 || age > time.Hour {
		t.Errorf("it is %s old", age)
	}
}

func TestWhatOthersEndOrChangeIsPassing(t *testing.T) {
	for command, want := range map[string]bool{
		"pause": true, "crun": true, "runc:[2:INIT]": true,
		"sh": false, "crunch": false, "runc": false, "": false,
	} {
		if isPassing(command) != want {
			t.Errorf("%q is passing: %t", command, !want)
		}
	}
}

func TestCommandsMayHaveParentheses(t *testing.T) {
	command, state, _ := parseStat("7 (a) b (c)) Z" + strings.Repeat(" 1", 30))
	if command != "a) b (c)" || state != "Z" {
		t.Errorf("got %q in state %q", command, state)
	}
}
