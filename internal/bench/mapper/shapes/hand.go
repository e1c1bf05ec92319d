package shapes

// UserInto maps by hand, in place.
//
//go:noinline
func UserInto(d *UserDTO, s *User) {
	d.ID = s.ID
	d.Name = s.Name
	d.Email = s.Email
	d.Phone = s.Phone
	d.Age = s.Age
	d.Active = s.Active
	d.Score = s.Score
	d.Created = s.Created
	d.Logins = s.Logins
	d.Role = s.Role
}

// UserByValue maps by hand, by value.
//
//go:noinline
func UserByValue(s User) UserDTO {
	return UserDTO{
		ID: s.ID, Name: s.Name, Email: s.Email, Phone: s.Phone, Age: s.Age,
		Active: s.Active, Score: s.Score, Created: s.Created, Logins: s.Logins, Role: s.Role,
	}
}

// OrderInto maps by hand, deeply, in place.
//
//go:noinline
func OrderInto(d *OrderDTO, s *Order) {
	d.ID = s.ID
	UserInto(&d.Customer, &s.Customer)
	d.Ship = nil
	if s.Ship != nil {
		d.Ship = &AddressDTO{Street: s.Ship.Street, City: s.Ship.City, Zip: s.Ship.Zip}
	}
	d.Items = nil
	if s.Items != nil {
		d.Items = make([]ItemDTO, len(s.Items))
		for i := range s.Items {
			to, from := &d.Items[i], &s.Items[i]
			to.SKU, to.Name, to.Count, to.Price = from.SKU, from.Name, from.Count, from.Price
		}
	}
	d.Tags = nil
	if s.Tags != nil {
		d.Tags = make([]string, len(s.Tags))
		copy(d.Tags, s.Tags)
	}
	d.Note = s.Note
}

// UserSlice maps by hand, element by element in place.
//
//go:noinline
func UserSlice(s []User) []UserDTO {
	d := make([]UserDTO, len(s))
	for i := range s {
		UserInto(&d[i], &s[i])
	}
	return d
}
