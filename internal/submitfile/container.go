package submitfile

import (
	"path"
	"strings"
)

// buildUniverse sets how the job is run. Containers are refused with a reason.
func buildUniverse(p *proc) error {
	p.setInt("JobUniverse", vanilla)
	kind, err := p.kind()
	if kind == "" || err != nil {
		return err
	}
	u, err := p.get("universe", "container_image", "docker_image")
	if err != nil {
		return err
	}
	if isHere(kind) {
		return p.buildHere(u, kind)
	}
	c, err := p.container()
	if err != nil {
		return err
	}
	if !c.image.set() || kind == "docker" && !c.docker {
		return problem(u.at, "add a line "+kind+"_image = ...", "a job of universe %s needs an image", kind)
	}
	if err := p.e.d.refuse(u.at, "", "%s = %s: containers are %w", u.name, clip(u.text), ErrUnsupported); err != nil {
		return err
	}
	if kind == "docker" {
		p.setBool("WantDocker", true)
		p.setString("DockerImage", c.image.text)
		return nil
	}
	p.setBool("WantContainer", true)
	p.setBool(c.want, true)
	if c.docker {
		p.setString("DockerImage", c.image.text)
		return nil
	}
	name := c.image.text
	if c.sent != "" {
		name = path.Base(strings.TrimSuffix(name, "/"))
	}
	p.setString("ContainerImage", name)
	p.setString("ContainerImageSource", c.source)
	return nil
}

// isHere reports whether a kind of job runs on the machine that it was submitted from.
func isHere(kind string) bool { return kind == "scheduler" || kind == "local" }

// buildHere sets what such a job has, and refuses it: Skua's queue is not where programs run.
func (p *proc) buildHere(u value, kind string) error {
	const scheduler, local = 7, 12 // JobUniverse
	if err := p.e.d.refuse(u.at, "run the program yourself, or leave the line out", "%s = %s is %w", u.name, clip(u.text), ErrUnsupported); err != nil {
		return err
	}
	p.out = p.out[:0]
	p.setInt("JobUniverse", scheduler)
	if kind == "local" {
		p.out = p.out[:0]
		p.setInt("JobUniverse", local)
	}
	if v, err := p.get("kill_sig", "KillSig"); err != nil || v.set() {
		return err
	}
	p.setString("KillSig", "SIGTERM")
	return nil
}

// container is the image that a job asks for.
type container struct {
	image  value
	docker bool   // under its name for Docker
	want   string // attribute that says what kind it is
	source string // ContainerImageSource
	sent   string // to be sent with the inputs; empty for one that machines have or fetch themselves
}

// container reads the image of a job. Both of its names together are refused.
func (p *proc) container() (c container, err error) {
	image, err := p.get("container_image")
	if err != nil {
		return c, err
	}
	docker, err := p.get("docker_image")
	if err != nil {
		return c, err
	}
	if image.set() && docker.set() {
		return c, problem(docker.at, "leave one of them out", "container_image and docker_image are both set")
	}
	if docker.set() {
		return container{image: docker, docker: true, want: "WantDockerImage"}, nil
	}
	c = containerImage(image.text)
	c.image = image
	send, _, err := p.boolOf(true, "transfer_container", "transfercontainer")
	if err != nil {
		return c, err
	}
	switch {
	case !image.set():
	case c.source == "docker" && !send:
		c.source = "local"
	case c.source == "docker":
	case !send || strings.HasPrefix(image.text, "/cvmfs/"):
		c.sent, c.source = "", "local"
	}
	return c, nil
}

// containerImage tells what kind of image a name stands for.
func containerImage(name string) container {
	c := container{want: "WantSandboxImage", source: "cedar", sent: name} // cedar is HTCondor's own way of sending files
	if scheme := urlScheme(name); scheme != "" {
		c.source = scheme
	}
	switch {
	case c.source == "docker":
		c.want, c.sent = "WantDockerImage", ""
	case c.source == "oras": // the container's own program fetches it
		c.sent = ""
	case strings.HasSuffix(name, ".sif"):
		c.want = "WantSIF"
	}
	return c
}
