// Package users answers with a DTO, and applies PATCH requests to an entity.
package users

import (
	"encoding/json"
	"net/http"

	"github.com/leaksafe/leaksafe/mapper"
)

type User struct {
	ID                          int64
	First, Last, Mail, Password string
}

type UserDTO struct {
	ID         int64
	Name, Mail string
}

type UserPatch struct{ First, Last, Mail *string }

// These Mappers are built and checked once, when the program starts. A field of UserDTO that no
// field of User fills is a panic here, not an empty field in a response.
var (
	toDTO = mapper.Must[User, UserDTO](mapper.Set(
		func(d *UserDTO) *string { return &d.Name },
		func(u User) string { return u.First + " " + u.Last }))
	patch = mapper.Must[UserPatch, User](mapper.Lenient())
)

// Patch changes what the request's body sets in u, and answers with the DTO.
func Patch(w http.ResponseWriter, r *http.Request, u *User) {
	var p UserPatch
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil || patch.Patch(u, &p) != nil {
		http.Error(w, "the body is no patch of a user", http.StatusBadRequest)
		return
	}
	dto, _ := toDTO.Map(*u) // cannot fail: no step of the plan can
	_ = json.NewEncoder(w).Encode(dto)
}
