defmodule Mlx.IO.GGMLGrids do
  @moduledoc false
  # The grids of ggml's formats whose names begin with IQ1, IQ2 and IQ3: sets of vectors of 4 or 8 numbers, of which a block
  # holds the indices.
  #
  # A vector is a number whose digits choose its elements, the first element being the lowest digit. Vectors are in the
  # order of these numbers. So a grid is told by the set of its numbers, which is kept as bits, one for each number that is
  # possible, the lowest bit of the first byte being number 0. They are compressed.

  # grid => elements of a vector, what a digit stands for, set of numbers
  @grids %{
    iq1_s:
      {8, [0, 1, 2],
       ~S"""
         eNotUkFLnEcYfneq4XVMZWM/QXJ696ux01kR6y3pZZFdWPRiQvIHPNm0SMk5TT4nu+mX2RRCILQ0l3EwyTgNq/FQtp+wAU9WemjprQdpPYS6Hg
         JeGgzEzK69zbzwvM/zvM9z7UJUN2zmMlY+c3dJ2/MoKarPR4rKlQsj/YYpSkcBlflAmnTL8wd+EGLg/r4yWAqoQprMRwGup/AHg4kMk6hO1Zlr
         WMlNbBvS4yDHnLe4v44oBAQu4QW5hPhj/CVztNu8Z5v+0s3DTralhlpxtvvn0EMWQ0xOZ1wxBDn7t/08pqKF5dKy1wLjXFA4omigUrhaN8g+dp
         eopuhqkGEJH81HTGLLqcRUGaGyi5aJnyTWw3sKKyXoKjQwcxkquU8VaCVxZSrqD5bFqXjGyEug4Re6KVy24t3XoDgyEbMaKKgmprMh/TY1srjz
         17NGY8k9DP8bDV0+K6laKwkt0dPObza26z+afx0DBtKlQIlpWCsyk6hpnrVb2btDa4oWNRcdCyvT7OzxamfvddFNfte+dXj83+2Xr77J9r54+8
         nJy/Hj4YN/dJz37aGax003qJon2djBnaRvYWLxyPHVIgTLuO+HgSnJn9Kv6t4DJcDC/eQjUIjwlfZ+iz1ta7PLki+/n/x98yCv8pN+T4z88aQP
         ePcOhLkVUv5iFk/XzEAyCtousOWoHA5VeK56KXsS/ls+3Eu532C3NjlipmRjSAEtXtdLLe8TIK72d+IClruoAU0joVF3OXopE+BdVMFBb+E+pY
         qPhgi89XqjwbgMFCrxXKCAtZTFpj0oWqizuc1gefVN09MVsfizmXqVcBaacH0hFIl5X/Qdu2YsYp6MjkENnabMexVdOwOznuETyH9Y/j/l/lBp
         9fyIACBw8Yw6loGqDoiDCM7NVbrdcKynMB3DVPAShkmwzLoLc+8B4wUZaQ==
       """},
    iq2_xxs:
      {8, [8, 25, 43],
       ~S"""
         eNp1UkuqxDAMk8Hdq5B3Hwd6gG7m/ld5tvPt0BENpLHkSG4/f+XDq1ZouUAAaigwxA64afWEFLXbz718+LoBQVCqn5eSxPakiugoSjpNT6j4xk
         LlkEakmrdsKvaVVzQcEqXwcY6jlFtvHa9ytE5NdA8erHrVBlu7ptfiaQ4UTzR7t0+D9Mhgk18I792/MWkMozOpYEUGZTWnjKHk4pUeVVKiD+3y
         aLJ11MlR6vJsezlRkya9ZIuWJs+Vsrxm3zJ8I6bZP4XaFM4G+dvYCpk35szlEWu/YcUTjjHsvjFmaK+qB/ijNp18T/Nl/wr9TfsHxl0VIw==
       """},
    iq2_xs:
      {8, [8, 25, 43],
       ~S"""
         eNpdUVuuhTAIHBL6j4nuhyb2vyZ2/1s5PFr13uYcxQLDzDDGuEarR6N7jN6qFMJ9iVYGEbqnDtoZlkIhZkArpNjLfqNsO5NA1bo8JYAFBDtigJ
         d16QK0VEffvNELHLCRJGDcOCavsBSwVdr3Ft8MzBI/YyQguItPFR+YrVZ4Vig91ZxJmsCQSjFFFqbnQF6FMyWHrikZp8mrtADNKEt5SwnyPsOM
         0miHp4hoTq0xX7HOtDckM8rDMHs17BW3p+aFYCbtz+aGBpShy2TzehJuiNPq30xqNOkvCWeIZyg+If0x2t8iIbnQwY7bDyOfokOFu1z32/oVua
         vEmHEw5Vjp7gI+vAKcOd2IzVCwoLfAQE4LqnxJ7h+iL1v+XMoqbTQn0uOl7msKr70o/h/N4W2uYLIu79Po/gBOsClJ
       """},
    iq2_s:
      {8, [8, 25, 43],
       ~S"""
         eNptUl2KBiEMa0HfK+h9KozvCvb+V9m0OrvfsivD/MXEJGpmy4a1XPAyh9Xc6l4yLVEpeAwza3usaVZxAVJAq6YppM2cJcyaLT2AlIirZCEipW
         1rQbmtui2WsEqz9p4y1US+1ivoUAjWzIBAV1vJISY6EP4lcShBm/Zqq+fEhfbsmg9LaCXMz/QgxS/BAkpmUINcYMOXIGrxTSGOT9yYpnu1Vh9v
         I1+HvSWP7L7MthfV6UCzvw4hIPVAsBEstKF0IB8QbMGiP5Er4HetD0G65iMyICUE/BGMWiLJM1qGQ/VNuR2K20hOIF6fghIY3ex4n3JL4FPLO2
         KGahul7iKdaRzznbS0y8IuF4+cfyKzQ/OKg5U5ZHDnVx3K2c/KMLms2JRQPAfAKf90WOQ7NiDh02sg9DEwGad3h46fCTlhJKkX/TCtK8h6O/yV
         Gdg1ylcNv5Ur35q+ALm8Vh4=
       """},
    iq3_xxs:
      {4, [4, 12, 20, 28, 36, 44, 52, 62],
       ~S"""
         eNpNUTEOwjAMPFuxVGUKQ/eKCfGKdGCHH0WdEK9g5Jn4nKZwVdUmPt+dk/llmoBLtrNpgcxqL2xYNlvgEExopeGyAckfwgsFeMBLimx5bgKYWh
         Szqa+QDKIVFeeu4jj5ChqqgRTblm/0xzX6nmKbNXGSntCb6DfRq7kbjTtyjSBQy66/hN+d+2xmUmVXQJrvrAzPhsIYUZoYzGd743mEKqQLVncb
         dJqUEUMGcbH932U9l6yoo4HjpLQ7QEI8ddpIhIPI7z1ctL8Nw3X9CxXSe8Mevst9ZNxL7bIcM/FIRlwNpv2O7piB+AIWuhT2
       """},
    iq3_s:
      {4, [1, 3, 5, 7, 9, 11, 13, 15],
       ~S"""
         eNotUcFKw0AQfTPMwmZPuyHiNd1GqPmKrdSDeimC+DtpqdD2luIHiFYE+5PObpzDwLw3897b5Od1br+dOV3PD9EjytdDDGeHykbz6M0QaV9Lxa
         AG9/YTySYHhoCvdEYAri/mGWuWp8AVGyzpHKRqSU7VNugiLRq4le4VlqE1Yq3dGW4zf3k5mt4Mt+bQ1aL8CW7De9Q33DihhC2qTuHOswxkQW9Z
         RC9bTmQJkF/p39ly7x0ItCLRqIpzONKxhbV3qioBbFrxCRYJJYaDaXOaIKOwHu6czGxUfMaWBiHvTMy8gR+y3Ee5EqiCRzaYgaxCEgSjJN8LS1
         4gtkvdwY4GeG5tDZKUhXJ3KJUXm9K1+oxqAGx08Jn00gqR5+yipY9QsMLkm0MX/F9rhEnkBcIeC53rpb6Gi0eXc8T8kWhylcm7/IVJG/gDusYn
         IA==
       """}
  }

  # The elements of all vectors, one byte each.
  @bytes Map.new(@grids, fn {name, {length, elements, set}} ->
           bits = set |> String.replace(~r/\s/, "") |> Base.decode64!() |> :zlib.uncompress()

           possible =
             for byte <- :binary.bin_to_list(bits), place <- 0..7, do: Bitwise.band(Bitwise.bsr(byte, place), 1)

           base = length(elements)

           vectors =
             for {1, number} <- Enum.with_index(possible), place <- 0..(length - 1), into: <<>> do
               digit = number |> div(Integer.pow(base, place)) |> rem(base)
               <<Enum.at(elements, digit)>>
             end

           {name, {length, vectors}}
         end)

  @doc "The vectors of a grid, an array with a row for each."
  @spec vectors(atom()) :: Mlx.Array.t()
  def vectors(name) do
    {length, bytes} = Map.fetch!(@bytes, name)
    Mlx.from_binary(bytes, {div(byte_size(bytes), length), length}, :u8)
  end
end
